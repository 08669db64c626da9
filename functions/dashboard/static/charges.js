// The charges of a subscription's window: a row each, with how far into which tier, and the explanation on request.

import { compare, ratio, subtract } from "./decimal.js";
import { h, stored, table } from "./dom.js";
import { majorCell, period, quantity, quantityCell, unitPrice } from "./format.js";

const COLUMNS = 4;

export function show(usage, currency, zone) {
  const rows = usage.charges.flatMap((charge, index) => {
    const id = `explanation-${index}`;
    const open = h("button", { type: "button", class: "link disclose", "aria-expanded": "false", "aria-controls": id }, stored(charge.meter_display_name));
    const detail = h("tr", { id, class: "explanation", hidden: true }, h("td", { colspan: String(COLUMNS) }));
    open.addEventListener("click", () => {
      detail.hidden = !detail.hidden;
      open.setAttribute("aria-expanded", String(!detail.hidden));
      if (!detail.hidden && !detail.firstChild.firstChild) detail.firstChild.append(...explanation(charge, currency, zone, index + 1));
    });
    return [
      h(
        "tr",
        { class: "charge" },
        h("th", { scope: "row" }, open, charge.is_overage && h("small", { class: "tag over" }, "overage")),
        h("td", { class: "number" }, majorCell(charge.amount, currency)),
        h("td", { class: "number" }, quantityCell(charge.quantity)),
        h("td", null, tier(charge, currency)),
      ),
      detail,
    ];
  });
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Charges" },
    h(
      "table",
      { class: "charges" },
      h("caption", null, "Charges, and how each came about"),
      h("thead", null, h("tr", null, h("th", { scope: "col" }, "Charge"), h("th", { scope: "col", class: "number" }, "Amount"), h("th", { scope: "col", class: "number" }, "Quantity"), h("th", { scope: "col" }, "Price"))),
      h("tbody", null, rows),
      h("tfoot", null, h("tr", null, h("th", { scope: "row" }, "Together"), h("td", { class: "number" }, majorCell(usage.amount, currency)), h("td", { colspan: "2" }))),
    ),
  );
}

// Which tier the quantity has come to, and how far into it; or what one unit costs.
function tier({ price, explanation }, currency) {
  const all = String(explanation.quantity);
  if (explanation.aggregation.bucket_size) return `priced by ${explanation.aggregation.bucket_size.toLowerCase()}`;
  if (price.billing_model === "FLAT_FEE") return [unitPrice(price.amount, currency), " each"];
  if (price.billing_model === "PACKAGE") return [unitPrice(price.amount, currency), ` for each ${quantity(String(price.transform_quantity?.divide_by ?? 1))}`];
  const tiers = price.tiers ?? [];
  const at = tiers.findIndex((each) => each.up_to === null || each.up_to === undefined || compare(all, String(each.up_to)) <= 0);
  const index = at < 0 ? tiers.length - 1 : at;
  const from = index > 0 ? String(tiers[index - 1].up_to) : "0";
  const bound = tiers[index]?.up_to;
  const bounded = bound !== null && bound !== undefined;
  const bar = h("i", { class: "bar tiers", "aria-hidden": "true" });
  bar.style.setProperty("--share", bounded ? ratio(subtract(all, from), subtract(String(bound), from)) : 1);
  return [
    bar,
    `tier ${index + 1} of ${tiers.length}: `,
    bounded ? [quantity(subtract(String(bound), all)), " to the next"] : ["from ", quantity(from), " on"],
  ];
}

const CUT = { now: "so far", subscription: "the subscription", line_item: "the line item", meter: "the meter’s deletion" };

function explanation({ explanation: said, quantity: own, is_overage: over, overage_factor: factor, amount }, currency, zone, row) {
  const { aggregation } = said;
  const facts = [
    `${aggregation.name}${aggregation.field ? " of " : ""}`,
    aggregation.field && stored(aggregation.field),
    Object.entries(aggregation.filters ?? {}).map(([name, values]) => [", where ", stored(name), " is ", values.map((each, index) => [index > 0 && " or ", stored(String(each))])]),
    aggregation.recurring && ", carried from period to period",
    `; ${period(said.window.start_time, said.window.end_time, zone)}`,
    (said.window.cut ?? []).map((each) => `, ${each.at === "start" ? "begun" : "ended"} by ${CUT[each.by] ?? each.by}`),
  ];
  const cost = String(said.amount);
  return [
    h("p", { class: "sentence" }, h("bdi", null, said.sentence)),
    h("p", { class: "hint" }, facts, "."),
    said.lines?.length > 0 &&
      table(
        `How the cost of row ${row} came about`,
        [
          { title: "From", number: true, cell: (line) => quantityCell(line.from ?? 0) },
          { title: "To", number: true, cell: (line) => (line.to === null || line.to === undefined ? "no end" : quantityCell(line.to)) },
          { title: "Quantity", number: true, cell: (line) => quantityCell(line.quantity) },
          { title: "Each", number: true, cell: (line) => h("data", { value: String(line.unit_amount) }, unitPrice(String(line.unit_amount), currency)) },
          { title: "Flat", number: true, cell: (line) => h("data", { value: String(line.flat_amount) }, unitPrice(String(line.flat_amount), currency)) },
          { title: "Cost", number: true, cell: (line) => h("data", { value: String(line.subtotal) }, unitPrice(String(line.subtotal), currency)) },
        ],
        said.lines,
        { class: "lines" },
      ),
    h(
      "p",
      { class: "hint" },
      "Before rounding ", h("data", { value: String(said.unrounded) }, unitPrice(String(said.unrounded), currency)), ", rounded once to ", majorCell(cost, currency), ".",
      compare(String(own), String(said.quantity)) !== 0 || over ? [" The commitment divides it: this row is ", quantityCell(own), over ? ` of it at ${factor} times the price: ` : " of it: ", majorCell(amount, currency), "."] : null,
    ),
  ].filter(Boolean);
}
