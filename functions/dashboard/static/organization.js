// What an organization's customers used, by day, week, month or year: headline, chart, tables.

import { call, text } from "./api.js";
import * as breakdown from "./breakdown.js";
import { draw, colour } from "./chart.js";
import * as catalogue from "./catalogue.js";
import { add, compare, isZero, ratio, shifted } from "./decimal.js";
import { choice, fill, h, stored, table } from "./dom.js";
import * as filters from "./filters.js";
import { decimals, axisLabel, amountCell, bucket, days, instant, minorMoney, ownZone, percent, quantity, quantityCell, short, shortMoney, total } from "./format.js";
import { change, go } from "./fragment.js";
import { empty, load } from "./states.js";

const GRANULARITY = { daily: "Days", weekly: "Weeks", monthly: "Months", yearly: "Years" };
const SHOW = { money: "Money", units: "Units" };

export function mount(root, signal) {
  const bar = h("section", { class: "filters", "aria-label": "Filters" });
  const result = h("section", { class: "result", "aria-label": "Usage" });
  const parts = h("section", { class: "parts", "aria-label": "Who used it" });
  root.append(bar, result, parts);
  let drawn = null;
  let asked = null;
  signal.addEventListener("abort", () => drawn?.dispose());

  return (state) => {
    const question = JSON.stringify({ ...state, show: 0, currency: 0, of: 0, split: 0 });
    if (question !== asked?.question) {
      asked?.leave.abort();
      const leave = new AbortController();
      signal.addEventListener("abort", () => leave.abort());
      asked = { question, leave, answer: null };
    }
    const present = asked;
    asked.answer ??= ask(state, present.leave.signal);
    asked.answer.catch(() => (present.answer = null));
    load(result, "usage", present.leave.signal, () => (present.answer ??= ask(state, present.leave.signal)), (answer) => {
      filters.show(bar, state, answer.asked);
      drawn?.dispose();
      drawn = usage(result, state, answer);
      const chosen = selected(state, answer);
      if (answer.rows.length) breakdown.show(parts, state, answer, chosen, present.leave.signal);
      else fill(parts);
    });
    filters.show(bar, state, null);
  };
}

// The query of a state: every filter that the API knows, and the time that is shown, said in full.
async function ask(state, signal) {
  const organization = await catalogue.organization();
  const asked = { ...filters.query(state), ...filters.time(state, organization.timezone) };
  const [{ data, countedUntil }, meters] = await Promise.all([
    call("api/v1/analytics/usage", { query: asked, signal }),
    catalogue.meters(),
  ]);
  performance.mark("usage-answered");
  const names = new Map(meters.map((each) => [each.code, each.name || each.code]));
  return { asked, countedUntil, organization, names, rows: data.usages };
}

// Which currency and which metric are looked at: those of the state, else those with the most rows.
function selected(state, { rows }) {
  const most = (field) => {
    const counts = new Map();
    for (const row of rows) counts.set(row[field], (counts.get(row[field]) ?? 0) + 1);
    return [...counts].sort((left, right) => right[1] - left[1] || (left[0] < right[0] ? -1 : 1)).map(([value]) => value);
  };
  const currencies = most("amount_currency");
  const metrics = most("billable_metric_code");
  return {
    currencies,
    metrics,
    units: state.show === "units",
    currency: currencies.includes(state.currency) ? state.currency : currencies[0],
    metric: metrics.includes(state.of) ? state.of : metrics[0],
  };
}

function usage(root, state, answer) {
  const { asked, rows, names } = answer;
  const by = asked.time_granularity;
  if (rows.length === 0) {
    fill(
      root,
      h("h1", { class: "title" }, "Usage"),
      empty(
        "No usage here",
        `Nothing was counted from ${days(asked.from_date, asked.to_date)} with these filters.`,
        h("button", { type: "button", onclick: () => change("organization", { from: longAgo(asked), to: asked.to_date, by: "monthly" }) }, "Look at two years"),
        Object.keys(filters.query(state)).length > 1 && h("button", { type: "button", onclick: () => go("organization", filters.without(state)) }, "Leave all filters out"),
      ),
      footing(answer),
    );
    return null;
  }
  const chosen = selected(state, answer);
  const shown = rows.filter((row) => (chosen.units ? row.billable_metric_code === chosen.metric : row.amount_currency === chosen.currency));
  const place = h("div", { class: "chart", role: "img" });
  fill(root, headline(state, answer, chosen, shown), place, chosen.units ? null : byMetric(chosen, shown, names), allBuckets(by, chosen, shown, names), footing(answer));
  const grouped = group(shown, chosen);
  place.setAttribute("aria-label", `Bars by ${GRANULARITY[by].toLowerCase()}: ${grouped.series.map((each) => names.get(each.code) ?? each.code).slice(0, 20).join(", ")}. The table below has the same numbers.`);
  const places = chosen.units ? 0 : decimals(chosen.currency);
  const dates = filters.buckets(asked);
  return draw(place, {
    labels: dates.map((date) => ({ axis: axisLabel(date, by), title: bucket(date, by) })),
    series: grouped.series.map((each) => ({
      name: names.get(each.code) ?? each.code,
      values: dates.map((date) => Number(chosen.units ? each.of(date) : shifted(each.of(date), places))),
    })),
    format: (index, series) => {
      const value = grouped.series[series].of(dates[index]);
      return chosen.units ? quantity(value) : minorMoney(value, chosen.currency);
    },
    axis: (value) => (chosen.units ? short(value) : shortMoney(value, chosen.currency)),
  });
}

// Rows by metric and bucket. Units of one metric are added over currencies; amounts never are.
function group(rows, { units }) {
  const metrics = new Map();
  for (const row of rows) {
    const buckets = metrics.get(row.billable_metric_code) ?? metrics.set(row.billable_metric_code, new Map()).get(row.billable_metric_code);
    const value = String(units ? row.units : row.amount_cents);
    const known = buckets.get(row.start_of_period_dt);
    buckets.set(row.start_of_period_dt, known === undefined ? value : add(known, value));
  }
  const series = [...metrics].map(([code, buckets]) => ({
    code,
    all: total([...buckets.values()]),
    of: (date) => buckets.get(date) ?? "0",
  }));
  series.sort((left, right) => compare(right.all, left.all) || (left.code < right.code ? -1 : 1));
  return { series };
}

function headline(state, answer, chosen, shown) {
  const { asked, rows, names } = answer;
  const span = h("p", { class: "span" }, days(asked.from_date, asked.to_date));
  const switches = h(
    "div",
    { class: "switches" },
    choice("Bars by", GRANULARITY, asked.time_granularity, (by) => change("organization", { by, from: undefined, to: undefined })),
    choice("What is shown", SHOW, chosen.units ? "units" : "money", (show) => change("organization", { show })),
  );
  if (chosen.units) {
    const options = chosen.metrics.map((code) => h("option", { value: code, selected: code === chosen.metric }, `\u2068${names.get(code) ?? code}\u2069`));
    return h(
      "header",
      { class: "headline" },
      h("div", null, h("h1", null, h("select", { "aria-label": "Metric", onchange: (event) => change("organization", { of: event.target.value }) }, options)), h("p", { class: "figure" }, quantityCell(total(shown.map((row) => row.units)))), span),
      switches,
    );
  }
  const amounts = new Map(chosen.currencies.map((each) => [each, total(rows.filter((row) => row.amount_currency === each).map((row) => String(row.amount_cents)))]));
  const others = chosen.currencies.length > 1 && h(
    "div",
    { class: "currencies", role: "group", "aria-label": "Currency" },
    [...amounts.keys()].sort().map((each) =>
      h("button", { type: "button", "aria-pressed": String(each === chosen.currency), "data-currency": each, onclick: () => change("organization", { currency: each }) }, h("span", null, each), " ", amountCell(amounts.get(each), each)),
    ),
  );
  return h("header", { class: "headline" }, h("div", null, h("h1", null, "Usage"), h("p", { class: "figure" }, amountCell(amounts.get(chosen.currency), chosen.currency)), span), switches, others);
}

function byMetric({ currency }, rows, names) {
  const { series } = group(rows, {});
  const whole = total(series.map((each) => each.all));
  const deleted = new Set(rows.filter((row) => row.is_billable_metric_deleted).map((row) => row.billable_metric_code));
  const units = new Map(group(rows, { units: true }).series.map((each) => [each.code, each.all]));
  return table(
    `Metrics in ${currency}`,
    [
      { title: "Metric", row: true, cell: (each) => [dot(series.indexOf(each)), stored(names.get(each.code) ?? each.code), deleted.has(each.code) && h("small", { class: "tag" }, "deleted")] },
      { title: "Amount", number: true, cell: (each) => amountCell(each.all, currency) },
      { title: "Units", number: true, cell: (each) => quantityCell(units.get(each.code)) },
      { title: "Share", number: true, cell: (each) => (isZero(whole) || compare(whole, "0") < 0 ? "–" : percent(ratio(each.all, whole))) },
    ],
    series,
    { class: "by-metric", foot: ["Together", amountCell(whole, currency), "", ""] },
  );
}

function dot(index) {
  const element = h("span", { class: "dot" });
  element.style.background = colour(index);
  return element;
}

// Every bucket and metric, one row each, as the API has them. It is made when it is opened: it may be long.
let opened = false;
function allBuckets(by, chosen, rows, names) {
  const latestFirst = [...rows].reverse();
  const columns = [
    { title: GRANULARITY[by].replace(/s$/, ""), row: true, cell: (row) => bucket(row.start_of_period_dt, by) },
    { title: "Metric", cell: (row) => stored(names.get(row.billable_metric_code) ?? row.billable_metric_code) },
    { title: "Units", number: true, cell: (row) => quantityCell(row.units) },
    { title: "Amount", number: true, cell: (row) => amountCell(row.amount_cents, row.amount_currency) },
  ];
  const body = h("div");
  return h(
    "details",
    {
      class: "all",
      open: opened,
      ontoggle: (event) => {
        opened = event.target.open;
        if (opened && !body.firstChild) body.append(table(`Usage by ${GRANULARITY[by].toLowerCase()} and metric`, columns, latestFirst, { class: "buckets" }));
      },
    },
    h("summary", null, `Every number of the chart (${rows.length})`),
    body,
  );
}

function footing({ asked, countedUntil, organization }) {
  const fresh = countedUntil
    ? ["Counted until ", instant(countedUntil, undefined, true), ` (${ownZone()})`]
    : ["How fresh this is, is not known: none of it came in over HTTP"];
  const csv = h("button", { type: "button", onclick: (event) => download(event.target, asked) }, "Download CSV");
  return h("footer", { class: "footing" }, h("p", null, fresh, `. Days are those of each customer’s time zone; today is that of ${organization.hidden ? "this browser" : "the organization"}, `, h("b", null, organization.timezone), "."), csv);
}

async function download(button, asked) {
  button.disabled = true;
  try {
    const csv = await text("api/v1/analytics/usage", { query: asked, accept: "text/csv" });
    const address = URL.createObjectURL(new Blob([csv], { type: "text/csv" }));
    h("a", { href: address, download: `usage-${asked.from_date}-${asked.to_date}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
    button.textContent = "Download CSV";
  } catch {
    button.textContent = "The download failed: try again";
  } finally {
    button.disabled = false;
  }
}

function longAgo({ to_date: to }) {
  return `${Number(to.slice(0, 4)) - 2}-01-01`;
}
