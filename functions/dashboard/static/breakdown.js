// Who used it: the same question once for each customer, plan or country, a few at a time.

import { call } from "./api.js";
import * as catalogue from "./catalogue.js";
import { compare, isZero, ratio } from "./decimal.js";
import { choice, fill, h, stored, table } from "./dom.js";
import { amountCell, country, percent, quantityCell, total, whole } from "./format.js";
import { change } from "./fragment.js";
import { empty, failed, waiting } from "./states.js";

// Each row is a request, so that as many as fit on a screen are asked for, four at once.
const STEP = 25;
const AT_ONCE = 4;
const KINDS = {
  customers: { title: "Customers", filter: "customer", parameter: "external_customer_id" },
  plans: { title: "Plans", filter: "plan", parameter: "plan_code" },
  countries: { title: "Countries", filter: "country", parameter: "customer_country" },
};
let present = { question: null };

export function show(root, state, answer, chosen, signal) {
  const kind = state.split ?? "plans";
  const question = JSON.stringify([answer.asked, kind]);
  if (question !== present.question || present.root !== root || present.signal !== signal) {
    present = { question, root, signal, rows: [], things: null, wanted: STEP, busy: null };
  }
  const mine = present;
  const paint = (body) => fill(root, h("header", { class: "headline small" }, h("h2", null, "Who used it"), choice("Divide by", Object.fromEntries(Object.entries(KINDS).map(([name, { title }]) => [name, title])), kind, (split) => change("organization", { split }))), body);
  mine.draw = () => paint(drawn(mine, kind, state, chosen));
  if (mine.things) mine.draw();
  else paint(waiting(KINDS[kind].title.toLowerCase()));
  // Not before it is looked at: below the chart, most readers do not scroll to it.
  if (!mine.seen) {
    mine.seen = new IntersectionObserver((entries) => {
      if (!entries.some((each) => each.isIntersecting)) return;
      mine.seen.disconnect();
      read(mine, kind, state, answer);
    });
    mine.seen.observe(root);
  }
}

async function read(mine, kind, state, answer) {
  const { parameter, filter } = KINDS[kind];
  mine.error = null;
  try {
    mine.things ??= await list(kind, state[filter]);
    const waiting = mine.things.slice(mine.rows.length, mine.wanted);
    const found = new Array(waiting.length);
    let index = 0;
    const ask = async () => {
      while (index < waiting.length) {
        const at = index++;
        const thing = waiting[at];
        // By years: of all buckets these make the shortest answer, and the sums are the same.
        const query = { ...answer.asked, time_granularity: "yearly", [parameter]: thing.id };
        const { data } = await call("api/v1/analytics/usage", { query, signal: mine.signal });
        found[at] = { ...thing, usages: data.usages };
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, ask));
    mine.rows.push(...found);
  } catch (error) {
    mine.error = error;
  }
  mine.again = () => read(mine, kind, state, answer);
  if (mine === present && !mine.signal.aborted) mine.draw();
}

async function list(kind, only) {
  const records = kind === "plans" ? await catalogue.plans() : await catalogue.customers();
  const all =
    kind === "plans"
      ? records.map((each) => ({ id: each.code, name: each.name || each.code }))
      : kind === "customers"
        ? records.map((each) => ({ id: each.id, name: each.name || each.id }))
        : [...new Set(records.flatMap((each) => catalogue.facts(each.country).map((fact) => fact.value)))].map((code) => ({ id: code, name: country(code) }));
  const found = only ? all.filter((each) => each.id === only) : all;
  if (only && found.length === 0) found.push({ id: only, name: only });
  return Object.assign(found, { more: !only && kind !== "plans" && records.more, hidden: records.hidden });
}

function drawn(mine, kind, state, chosen) {
  if (mine.error) return failed(mine.error, mine.again);
  if (mine.things.length === 0 && mine.things.hidden) return empty(`The ${kind} are not listed`, "This key does not have the scope “catalogue”. Filter by an id to see its usage.");
  if (mine.things.length === 0) return empty(`There are no ${kind}`, "The catalogue has none.");
  const { filter, title } = KINDS[kind];
  const value = ({ usages }) =>
    chosen.units
      ? total(usages.filter((row) => row.billable_metric_code === chosen.metric).map((row) => row.units))
      : total(usages.filter((row) => row.amount_currency === chosen.currency).map((row) => String(row.amount_cents)));
  const rows = mine.rows.map((each) => ({ ...each, value: value(each) }));
  rows.sort((left, right) => compare(right.value, left.value) || (left.name < right.name ? -1 : 1));
  const used = rows.filter((each) => !isZero(each.value));
  const sum = total(used.map((each) => each.value));
  const bar = (each) => {
    const length = h("i", { class: "bar", "aria-hidden": "true" });
    length.style.setProperty("--share", ratio(each.value, used[0].value));
    return length;
  };
  const waiting = Math.max(0, mine.things.length - mine.rows.length);
  return [
    used.length
      ? table(
          `${title}, ${chosen.units ? "units" : chosen.currency}`,
          [
            { title: title.replace(/ies$/, "y").replace(/s$/, ""), row: true, cell: (each) => h("button", { type: "button", class: "link", onclick: () => change("organization", { [filter]: each.id }) }, stored(each.name)) },
            { title: chosen.units ? "Units" : "Amount", number: true, cell: (each) => (chosen.units ? quantityCell(each.value) : amountCell(each.value, chosen.currency)) },
            { title: "Share of these", number: true, cell: (each) => [bar(each), compare(sum, "0") > 0 ? percent(ratio(each.value, sum)) : "–"] },
          ],
          used,
          { class: `by-${filter}` },
        )
      : empty("None of these used any", `No usage in ${chosen.units ? "this metric" : chosen.currency} among the ${whole(rows.length)} that were asked for.`),
    h(
      "p",
      { class: "hint" },
      `${whole(used.length)} of ${whole(rows.length)} ${kind} with usage${chosen.units ? "" : ` in ${chosen.currency}`}. `,
      waiting > 0 && `${whole(waiting)} have not been asked for: each is a request of its own, in the order of their ids, so that larger ones may be among them. `,
      mine.things.more && `Only the first ${whole(catalogue.MOST_CUSTOMERS)} customers are looked at here; filter by a customer’s id to see any other. `,
      waiting > 0 && h("button", { type: "button", onclick: (event) => { event.target.disabled = true; event.target.textContent = "Reading …"; mine.wanted += STEP; mine.again(); } }, `Ask for ${Math.min(STEP, waiting)} more`),
    ),
  ];
}
