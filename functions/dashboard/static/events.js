// Single events: look one up, see where it counts or why not; and all that do not count, by reason.

import { call } from "./api.js";
import { fill, h, stored, table } from "./dom.js";
import { instant, ownZone, quantityCell, span, whole } from "./format.js";
import { change, write } from "./fragment.js";
import { empty, failed, load } from "./states.js";

const REASONS = {
  subscription: ["No such subscription", "No subscription has the external id that the event names. Add it to the catalogue: the event then counts by itself."],
  customer: ["No such customer", "No customer has the external id that the event names. Add it to the catalogue: the event then counts by itself."],
  time: ["Outside the subscription", "No subscription of that id is in force at the event’s time. Look at its timestamp, and at the subscription’s start and end."],
  code: ["No such metric", "No metric counts events of that name. Look whether the code is spelled right."],
  value: ["Cannot be read", "A metric that is for the event needs a number in a property, and finds none. Send a corrected event under a new id."],
  line_item: ["Not priced", "No line item of the subscription is for it. That may be meant: not everything is sold."],
};
const STATES = { counted: ["Counted", "good"], pending: ["Accepted, not counted yet", "soon"], not_counted: ["Does not count", "bad"] };

export function mount(root, signal) {
  const form = h("section", { "aria-label": "Look an event up" });
  const found = h("section", { class: "found", "aria-live": "polite" });
  const list = h("section", { class: "uncounted", "aria-label": "Events that do not count" });
  root.append(h("header", { class: "headline" }, h("div", null, h("h1", { class: "title" }, "Events"), h("p", { class: "span" }, "Look one up, or see all that do not count."))), form, found, list);
  let asked = {};
  return (state) => {
    lookUp(form, state);
    const question = JSON.stringify([state.id, state.subscription, state.customer]);
    if (question !== asked.question) {
      if (state.id) find(found, state, signal);
      else fill(found);
    }
    if (asked.reason !== (state.reason ?? "")) uncounted(list, state, signal);
    asked = { question, reason: state.reason ?? "" };
  };
}

function lookUp(root, state) {
  const field = (name, title, value, required) => {
    const input = h("input", { id: `event-${name}`, name, type: "text", maxlength: "255", autocomplete: "off", required, value: value ?? "" });
    return h("div", { class: "field" }, h("label", { for: `event-${name}` }, title), input);
  };
  const form = h(
    "form",
    {
      class: "fields",
      onsubmit: (event) => {
        event.preventDefault();
        const typed = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim() || undefined]));
        change("events", typed);
      },
    },
    field("id", "Transaction id", state.id, true),
    field("subscription", "Subscription, by external id", state.subscription),
    field("customer", "or customer, by external id", state.customer),
    h("button", { type: "submit", class: "primary" }, "Look up"),
  );
  fill(root, form, h("p", { class: "hint" }, "The id alone is enough, unless there are very many subscriptions."));
}

function find(root, { id, subscription, customer }, signal) {
  load(root, "the event", signal, async () => (await call(`api/v1/events/${encodeURIComponent(id)}`, { query: { external_subscription_id: subscription, external_customer_id: subscription ? undefined : customer }, signal })).data.event, (event) => {
    const { state, counts, not_counted: not = [] } = event.meterstone;
    const reason = event.meterstone.reason ?? not.find((each) => each.reason)?.reason;
    const [title, tone] = STATES[state] ?? [state, ""];
    fill(
      root,
      h("h2", null, stored(event.transaction_id), " ", h("small", { class: `tag ${tone}` }, title)),
      reason && h("p", { class: "why" }, h("b", null, REASONS[reason]?.[0] ?? reason), ". ", REASONS[reason]?.[1] ?? ""),
      h(
        "dl",
        { class: "facts" },
        [
          ["Event", stored(event.code)],
          ["Happened", instant(event.timestamp, undefined, true)],
          ["Came in", event.created_at && instant(event.created_at, undefined, true)],
          ["Subscription", event.external_subscription_id && h("a", { href: write("organization", { subscription: event.external_subscription_id }) }, stored(event.external_subscription_id))],
          ["Times of", ownZone()],
        ].filter(([, value]) => value).map(([term, value]) => h("div", null, h("dt", null, term), h("dd", null, value))),
      ),
      table("Properties", [{ title: "Property", row: true, cell: ([name]) => stored(name) }, { title: "Value", cell: ([, value]) => stored(typeof value === "string" ? value : JSON.stringify(value)) }], Object.entries(event.properties ?? {}), { class: "properties" }),
      counts.length > 0 &&
        table(
          "Where it counts",
          [
            { title: "Metric", row: true, cell: (each) => stored(each.meter) },
            { title: "Line item", cell: (each) => stored(each.line_item_id) },
            { title: "Subscription", cell: (each) => h("a", { href: write("subscription", { id: each.subscription_id }) }, stored(each.subscription_id)) },
            { title: "Billing period", cell: (each) => (each.billing_period ? span(each.billing_period.start, each.billing_period.end) : "–") },
            { title: "Quantity", number: true, cell: (each) => quantityCell(each.quantity) },
          ],
          counts,
          { class: "counts" },
        ),
      not.some((each) => each.meter) &&
        table("Where it cannot be read", [{ title: "Metric", row: true, cell: (each) => stored(each.meter ?? "–") }, { title: "Why", cell: (each) => stored(each.detail ?? each.reason ?? "") }], not, { class: "faults" }),
    );
  });
}

function uncounted(root, state, signal) {
  const body = h("div");
  fill(root, h("h2", null, "Events that do not count"), body);
  load(body, "events that do not count", signal, () => read(state.reason, null, signal), (page) => paint(body, state, page, page.events, signal));
}

const read = async (reason, cursor, signal) => (await call("v1/events/uncounted", { query: { reason, cursor }, signal })).data;

function paint(root, state, page, events, signal) {
  const numbers = { ...page.counts, line_item: page.not_priced };
  const all = Object.entries(page.counts).reduce((sum, [, each]) => sum + each, 0);
  const button = (reason, title, number) => h("button", { type: "button", "aria-pressed": String((state.reason ?? "") === reason), onclick: () => change("events", { reason: reason || undefined }) }, title, " ", h("data", { value: String(number), "data-reason": reason || "all" }, whole(number)));
  const more = page.next_cursor && h("button", { type: "button", onclick: (event) => next(root, event.target, state, page, events, signal) }, "Show more");
  fill(
    root,
    h("div", { class: "choice wrap", role: "group", "aria-label": "Reason" }, button("", "All", all), Object.entries(REASONS).map(([reason, [title]]) => button(reason, title, numbers[reason] ?? 0))),
    state.reason && h("p", { class: "why" }, REASONS[state.reason][1]),
    page.counted_elsewhere > 0 && h("p", { class: "hint" }, `${whole(page.counted_elsewhere)} more count for one metric, and cannot be read by another: they are listed too.`),
    events.length
      ? table(
          state.reason ? REASONS[state.reason][0] : "For any reason",
          [
            { title: "Event", row: true, cell: (each) => h("a", { href: write("events", { ...state, id: each.id, subscription: each.external_subscription_id ?? undefined, customer: each.external_customer_id ?? undefined }) }, stored(each.id)) },
            { title: "Of", cell: (each) => stored(each.external_subscription_id ?? each.external_customer_id ?? "–") },
            { title: "Code", cell: (each) => stored(each.code) },
            { title: "Happened", cell: (each) => instant(each.timestamp) },
            { title: "Why", cell: (each) => [REASONS[each.reason]?.[0] ?? each.reason ?? "–", each.meters.map((meter) => [": ", stored(meter.detail)])] },
          ],
          events,
          { class: "events" },
        )
      : page.next_cursor
        ? empty("None so far", "The list goes on.")
        : empty(all || state.reason ? "None for this reason" : "Every event counts", all || state.reason ? "Choose another reason above." : "Nothing waits, and nothing was refused."),
    more && h("p", null, more),
  );
}

async function next(root, button, state, page, events, signal) {
  button.disabled = true;
  try {
    const later = await read(state.reason, page.next_cursor, signal);
    if (!signal.aborted) paint(root, state, later, [...events, ...later.events], signal);
  } catch (error) {
    if (!signal.aborted) button.replaceWith(failed(error, () => paint(root, state, page, events, signal)));
  }
}
