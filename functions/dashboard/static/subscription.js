// One subscription: its period so far, charge by charge, what it has committed to, earlier periods, and what if.

import { call } from "./api.js";
import * as catalogue from "./catalogue.js";
import * as charges from "./charges.js";
import { draw } from "./chart.js";
import { add as sum, compare, isZero, ratio, shifted, subtract } from "./decimal.js";
import { fill, h, isolated, stored, table } from "./dom.js";
import { amountCell, decimals, instant, majorCell, minorMoney, money, ownZone, period, shortMoney, signedMoney } from "./format.js";
import { change, write } from "./fragment.js";
import * as picker from "./picker.js";
import { empty, load } from "./states.js";

const EARLIER = 12;

export function mount(root, signal) {
  const place = h("div");
  root.append(place);
  let present = null;
  return (state) => {
    const question = JSON.stringify([state.id, state.id ? "" : [state.customer, state.plan]]);
    if (present?.question === question) {
      present.update?.(state);
      return;
    }
    present?.leave.abort();
    const leave = new AbortController();
    signal.addEventListener("abort", () => leave.abort());
    present = { question, leave };
    if (!state.id) {
      picker.show(place, state, leave.signal);
      return;
    }
    const mine = present;
    load(place, "the subscription", leave.signal, () => read(state.id, leave.signal), (found) => {
      mine.update = paint(place, found, leave.signal);
      mine.update(state);
    });
  };
}

async function read(id, signal) {
  const [subscription, usage] = await Promise.all([
    catalogue.subscription(id, signal),
    call("v1/subscriptions/usage/explain", { body: { subscription_id: id }, signal }),
  ]);
  return { subscription, usage: usage.data, countedUntil: usage.countedUntil };
}

function paint(root, { subscription, usage, countedUntil }, signal) {
  if (subscription.hidden) {
    paintAlone(root, subscription.id, usage, countedUntil);
    return () => {};
  }
  const { timezone: zone, currency } = subscription;
  const plan = catalogue.planOf(subscription);
  const name = h("h1", null, stored(subscription.customer));
  const projection = h("div", { class: "projection" });
  const earlier = h("section", { class: "earlier", "aria-label": "Earlier periods" });
  const whatIf = h("section", { class: "what-if", "aria-label": "What if" });
  const ended = subscription.end && Date.parse(subscription.end) <= Date.now();
  fill(
    root,
    h("nav", { class: "back", "aria-label": "Back" }, h("a", { href: write("subscription", {}) }, "← All subscriptions")),
    h(
      "header",
      { class: "headline" },
      h("div", null, name, h("p", { class: "figure" }, majorCell(usage.amount, currency)), h("p", { class: "span" }, ended ? "Last period: " : "So far: ", period(usage.start_time, usage.end_time, zone))),
      projection,
    ),
    h(
      "dl",
      { class: "facts" },
      [
        ["Subscription", stored(catalogue.externalId(subscription))],
        ["Plan", stored(plan ?? "–")],
        ["Billed", billed(subscription)],
        ["State", ended ? ["ended ", instant(subscription.end, zone)] : ["since ", instant(subscription.start, zone)]],
        ["Days of", zone],
      ].map(([term, value]) => h("div", null, h("dt", null, term), h("dd", null, value))),
    ),
    commitment(usage, currency),
    usage.charges.length ? charges.show(usage, currency, zone) : empty("No charges", "No line item of this subscription counts usage in this period."),
    h("footer", { class: "footing" }, h("p", null, fresh(countedUntil), ". Days are those of ", h("b", null, zone), ".")),
    whatIf,
    earlier,
  );
  catalogue.customers().then((all) => {
    const customer = all.find((each) => each.id === subscription.customer);
    if (customer?.name) fill(name, stored(customer.name));
  }, () => {});
  if (!ended) project(projection, subscription, signal);
  past(earlier, subscription, signal);
  return (state) => ifOther(whatIf, state, subscription, plan, signal);
}

// The usage alone, where the key may not read the subscription's record: neither its zone nor its customer is known.
function paintAlone(root, id, usage, countedUntil) {
  const { currency } = usage;
  fill(
    root,
    h("nav", { class: "back", "aria-label": "Back" }, h("a", { href: write("subscription", {}) }, "← All subscriptions")),
    h("header", { class: "headline" }, h("div", null, h("h1", null, stored(id)), h("p", { class: "figure" }, majorCell(usage.amount, currency)), h("p", { class: "span" }, "Present or last period: ", instant(usage.start_time), " – ", instant(usage.end_time)))),
    commitment(usage, currency),
    usage.charges.length ? charges.show(usage, currency, undefined) : empty("No charges", "No line item of this subscription counts usage in this period."),
    h("footer", { class: "footing" }, h("p", null, fresh(countedUntil), ". Times are those of this browser.")),
    h("p", { class: "hint" }, "Earlier periods, the projection and other plans need the subscription’s record, which this key may not read."),
  );
}

const fresh = (countedUntil) => (countedUntil ? ["Counted until ", instant(countedUntil, undefined, true), ` (${ownZone()})`] : "How fresh this is, is not known: none of it came in over HTTP");

function billed({ billing_period: each, billing_period_count: count, billing_cycle: cycle, currency }) {
  const often = each.toLowerCase().replace("_", " ");
  return `${count > 1 ? `every ${count} × ` : ""}${often}, ${cycle === "calendar" ? "by the calendar" : "from its anniversary"}, in ${currency.toUpperCase()}`;
}

// The commitment burning down, and what lies beyond it.
function commitment(usage, currency) {
  if (!usage.commitment_amount) return null;
  const committed = String(usage.commitment_amount);
  if (usage.commitment_utilized === undefined || usage.commitment_utilized === null) {
    return h("section", { class: "commitment" }, h("h2", null, "Commitment"), h("p", null, money(committed, currency), ": it changes nothing, since overage costs no more than usage."));
  }
  const used = String(usage.commitment_utilized);
  const over = String(usage.overage_amount ?? 0);
  const bar = h("div", { class: "burn", role: "meter", "aria-label": "Commitment used", "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": String(Math.round(ratio(used, committed) * 100)), "aria-valuetext": `${money(used, currency)} of ${money(committed, currency)}` }, h("i", { class: "used" }), !isZero(over) && h("i", { class: "over" }));
  const whole = sum(committed, over);
  bar.style.setProperty("--used", ratio(used, whole));
  bar.style.setProperty("--over", ratio(over, whole));
  return h(
    "section",
    { class: "commitment" },
    h("h2", null, "Commitment"),
    bar,
    h(
      "p",
      null,
      h("b", null, majorCell(used, currency)), " of ", majorCell(committed, currency), " used",
      isZero(over)
        ? [", ", majorCell(subtract(committed, used), currency), " left"]
        : [". Beyond it: ", h("b", { class: "beyond" }, majorCell(over, currency)), ` of overage, at ${usage.overage_factor} times the price`],
      ".",
    ),
  );
}

async function project(root, subscription, signal) {
  const { customer } = subscription;
  const external = catalogue.externalId(subscription);
  try {
    const { data } = await call(`api/v1/customers/${encodeURIComponent(customer)}/projected_usage`, { query: { external_subscription_id: external }, signal });
    const projected = data.customer_projected_usage;
    fill(
      root,
      h("p", { class: "projection-label" }, "Projection"),
      h("p", { class: "projection-figure" }, "≈ ", amountCell(projected.projected_amount_cents, projected.currency)),
      h("p", null, "at the period’s end, if usage goes on at the pace so far, before commitment. A guess, not a bill."),
    );
  } catch {
    fill(root, h("p", { class: "projection-label" }, "Projection"), h("p", null, "There is none just now."));
  }
}

function past(root, subscription, signal) {
  const { customer, timezone: zone } = subscription;
  const external = catalogue.externalId(subscription);
  const body = h("div");
  fill(root, h("h2", null, "Earlier periods"), body);
  let drawn = null;
  signal.addEventListener("abort", () => drawn?.dispose());
  load(body, "earlier periods", signal, async () => (await call(`api/v1/customers/${encodeURIComponent(customer)}/past_usage`, { query: { external_subscription_id: external, per_page: EARLIER }, signal })).data, (data) => {
    const periods = data.usage_periods;
    if (periods.length === 0) {
      fill(body, empty("None yet", "The first period is not over."));
      return;
    }
    const currency = periods[0].currency;
    const same = [...periods].reverse().filter((each) => each.currency === currency);
    const title = (each) => period(each.from_datetime, each.to_datetime, zone);
    const used = same.some((each) => !isZero(String(each.amount_cents)));
    const place = used && h("div", { class: "chart low", role: "img", "aria-label": "Amounts of earlier periods. The table below has the same numbers." });
    fill(
      body,
      place,
      table(
        `The last ${periods.length} periods, before commitment`,
        [
          { title: "Period", row: true, cell: title },
          { title: "Amount", number: true, cell: (each) => amountCell(each.amount_cents, each.currency) },
        ],
        periods,
        { class: "periods" },
      ),
    );
    if (!used) return;
    const places = decimals(currency);
    drawn = draw(place, {
      labels: same.map((each) => ({ axis: new Intl.DateTimeFormat(navigator.language, { timeZone: zone, month: "short", year: "2-digit", day: "numeric" }).format(Date.parse(each.from_datetime)), title: title(each) })),
      series: [{ name: "Amount", values: same.map((each) => Number(shifted(String(each.amount_cents), places))) }],
      format: (index) => minorMoney(same[index].amount_cents, currency),
      axis: (value) => shortMoney(value, currency),
    });
  });
}

// The same usage under another plan.
async function ifOther(root, state, subscription, plan, signal) {
  if (root.firstChild && root.dataset.instead === (state.instead ?? "")) return;
  root.dataset.instead = state.instead ?? "";
  let plans = [];
  try {
    plans = await catalogue.plans();
  } catch {
    // The plan of the state is there to choose all the same.
  }
  const codes = plans.map((each) => [each.code, each.name || each.code]);
  if (state.instead && !codes.some(([code]) => code === state.instead)) codes.push([state.instead, state.instead]);
  const select = h(
    "select",
    { id: "instead", onchange: (event) => change("subscription", { instead: event.target.value || undefined }) },
    h("option", { value: "" }, "choose a plan"),
    codes.map(([code, name]) => h("option", { value: code, selected: code === state.instead }, isolated(code === plan ? `${name} (now)` : name))),
  );
  const body = h("div", { "aria-live": "polite" });
  fill(root, h("h2", null, "What if"), h("p", { class: "field inline" }, h("label", { for: "instead" }, "The same usage of this period under"), " ", select), body);
  if (!state.instead) return;
  load(body, "the comparison", signal, async () => (await call("v1/subscriptions/usage/preview", { body: { subscription_id: subscription.id, instead: { plan: state.instead } }, signal })).data, (data) => {
    const { currency } = subscription;
    const names = new Map([...data.now.charges, ...data.instead.charges].map((each) => [each.meter_id, each.meter_display_name]));
    const change = String(data.difference.amount);
    const direction = compare(change, "0");
    fill(
      body,
      h(
        "p",
        { class: "verdict" },
        h("b", null, majorCell(data.instead.amount, currency)), " instead of ", majorCell(data.now.amount, currency), ": ",
        direction === 0 ? "the same." : [h("b", null, h("data", { value: change }, signedMoney(change, currency))), "."],
      ),
      table(
        "What would change",
        [
          { title: "Charge", row: true, cell: (each) => stored(names.get(each.meter_id) ?? each.meter_id) },
          { title: "Now", number: true, cell: (each) => majorCell(each.now, currency) },
          { title: "Instead", number: true, cell: (each) => majorCell(each.instead, currency) },
          { title: "Difference", number: true, cell: (each) => h("data", { value: String(each.difference) }, signedMoney(String(each.difference), currency)) },
        ],
        data.difference.charges,
        { class: "difference" },
      ),
      data.not_priced.length > 0 && h("p", { class: "hint" }, "That plan has no price for: ", data.not_priced.map((each, index) => [index > 0 && ", ", stored(each)]), ". They are 0 in it."),
      data.not_counted.length > 0 && h("p", { class: "hint" }, "That plan also prices what is not counted for this subscription now: ", data.not_counted.map((each, index) => [index > 0 && ", ", stored(each)]), "."),
    );
  });
}
