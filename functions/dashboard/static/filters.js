// The filters of the organization's usage: the form, the API's parameters, and the time that they mean.

import * as catalogue from "./catalogue.js";
import { fill, h, isolated } from "./dom.js";
import { country, today } from "./format.js";
import { change, go } from "./fragment.js";

const DAY = 86_400_000;
const PARAMETERS = {
  customer: "external_customer_id",
  subscription: "external_subscription_id",
  plan: "plan_code",
  metric: "billable_metric_code",
  country: "customer_country",
  type: "customer_type",
  recurring: "is_billable_metric_recurring",
  only: "currency",
};
const TITLES = { customer: "Customer", subscription: "Subscription", plan: "Plan", metric: "Metric", country: "Country", type: "Customer type", recurring: "Recurring", only: "Currency only" };

export const query = (state) => ({
  time_granularity: state.by ?? "daily",
  ...Object.fromEntries(Object.entries(PARAMETERS).flatMap(([name, parameter]) => (state[name] ? [[parameter, state[name]]] : []))),
});

export const without = (state) => Object.fromEntries(Object.entries(state).filter(([name]) => !(name in PARAMETERS)));

const iso = (at) => new Date(at).toISOString().slice(0, 10);

// The first day of the calendar bucket that holds a day.
function aligned(date, by) {
  if (by === "yearly") return `${date.slice(0, 4)}-01-01`;
  if (by === "monthly") return `${date.slice(0, 7)}-01`;
  if (by === "weekly") return iso(Date.parse(date) - ((new Date(date).getUTCDay() + 6) % 7) * DAY);
  return date;
}

// The days that are asked for. What a state leaves open is what the API takes by default.
export function time(state, zone) {
  const by = state.by ?? "daily";
  const to = state.to ?? today(zone);
  return { from_date: state.from ?? aligned(before(to, by), by), to_date: to };
}

function before(date, by) {
  const [year, month, number] = date.split("-").map(Number);
  if (by === "daily") return iso(Date.parse(date) - 30 * DAY);
  if (by === "weekly") return iso(Date.parse(date) - 84 * DAY);
  if (by === "monthly") return `${year - 1}-${String(month).padStart(2, "0")}-01`;
  return `${year - 5}-${String(month).padStart(2, "0")}-${number === 29 ? "28" : String(number).padStart(2, "0")}`;
}

// The first days of all buckets of a question, also of those without usage.
export function buckets({ from_date: from, to_date: to, time_granularity: by }) {
  const found = [];
  for (let date = aligned(from, by); date <= to; date = next(date, by)) found.push(date);
  return found;
}

function next(date, by) {
  const [year, month] = date.split("-").map(Number);
  if (by === "yearly") return `${year + 1}-01-01`;
  if (by === "monthly") return month === 12 ? `${year + 1}-01-01` : `${year}-${String(month + 1).padStart(2, "0")}-01`;
  return iso(Date.parse(date) + (by === "weekly" ? 7 : 1) * DAY);
}

const forms = new WeakMap();

export function show(root, state, asked) {
  const form = forms.get(root) ?? forms.set(root, make(root)).get(root);
  form.update(state, asked);
}

function make(root) {
  let state = {};
  const set = (name, value) => change("organization", { [name]: value || undefined });
  const field = (name, control) => h("div", { class: "field" }, h("label", { for: `filter-${name}` }, TITLES[name] ?? { from: "From", to: "To" }[name]), control);
  const typed = (name, type, list) => {
    const input = h("input", { id: `filter-${name}`, type, list, maxlength: "255", autocomplete: "off", placeholder: type === "text" ? "all" : undefined });
    input.addEventListener("change", () => set(name, input.value));
    return input;
  };
  const chosen = (name, options) => {
    const select = h("select", { id: `filter-${name}` }, h("option", { value: "" }, "all"), options.map(([value, title]) => h("option", { value }, title)));
    select.addEventListener("change", () => set(name, select.value));
    return select;
  };
  const controls = {
    from: typed("from", "date"),
    to: typed("to", "date"),
    customer: typed("customer", "text", "customers"),
    subscription: typed("subscription", "text"),
    plan: chosen("plan", []),
    metric: chosen("metric", []),
    country: chosen("country", []),
    type: chosen("type", [["company", "company"], ["individual", "individual"]]),
    recurring: chosen("recurring", [["true", "recurring"], ["false", "not recurring"]]),
    only: typed("only", "text"),
  };
  controls.only.maxLength = 3;
  controls.only.addEventListener("change", () => (controls.only.value = controls.only.value.toUpperCase()), { capture: true });
  const customers = h("datalist", { id: "customers" });
  const hint = h("p", { class: "hint" });
  const more = h("details", null, h("summary", null, "Filters"), h("div", { class: "fields" }, Object.keys(TITLES).map((name) => field(name, controls[name])), customers), hint);
  const chips = h("div", { class: "chips" });
  fill(root, h("div", { class: "fields time" }, field("from", controls.from), field("to", controls.to)), more, chips);
  fillChoices(controls, customers, hint, () => update(state));

  function update(now, asked) {
    state = now;
    for (const [name, control] of Object.entries(controls)) {
      const value = state[name] ?? "";
      if (control.tagName === "SELECT" && value && ![...control.options].some((each) => each.value === value)) control.append(h("option", { value }, isolated(value)));
      if (document.activeElement !== control || control.tagName === "SELECT") control.value = value;
    }
    if (asked) [controls.from.value, controls.to.value] = [asked.from_date, asked.to_date];
    const active = Object.keys(TITLES).filter((name) => state[name]);
    more.querySelector("summary").textContent = active.length ? `Filters (${active.length})` : "Filters";
    fill(
      chips,
      active.map((name) => h("button", { type: "button", class: "chip", onclick: () => set(name) }, `${TITLES[name]} `, h("bdi", null, name === "country" ? country(state[name]) : state[name]), h("span", { "aria-hidden": "true" }, " ×"), h("span", { class: "unseen" }, ", remove"))),
      active.length > 1 && h("button", { type: "button", class: "chip clear", onclick: () => go("organization", without(state)) }, "Remove all"),
    );
  }
  return { update };
}

async function fillChoices(controls, customers, hint, done) {
  const options = (select, pairs) => select.append(...pairs.map(([value, title]) => h("option", { value }, isolated(title))));
  try {
    const [plans, meters, some] = await Promise.all([catalogue.plans(), catalogue.meters(), catalogue.customers()]);
    options(controls.plan, plans.map((each) => [each.code, each.name || each.code]));
    options(controls.metric, [...new Map(meters.map((each) => [each.code, each.name || each.code]))]);
    const countries = [...new Set(some.flatMap((each) => catalogue.facts(each.country).map((fact) => fact.value)))].sort();
    options(controls.country, countries.map((code) => [code, `${country(code)} (${code})`]));
    customers.append(...some.map((each) => h("option", { value: each.id }, isolated(each.name || each.id))));
    hint.textContent = some.more ? `The first ${some.length} customers are suggested. Any other’s id can be typed.` : "";
    done();
  } catch {
    // The usage below says what is wrong; ids can be typed all the same.
  }
}
