// The subscriptions to choose from, a page at a time, of a customer or of a plan.

import * as catalogue from "./catalogue.js";
import { fill, h, isolated, stored, table } from "./dom.js";
import { instant } from "./format.js";
import { change, write } from "./fragment.js";
import { empty, failed, load } from "./states.js";

export function show(root, state, signal) {
  const list = h("div", { "aria-live": "polite" });
  const customer = h("input", { id: "of-customer", type: "text", list: "known-customers", maxlength: "255", autocomplete: "off", placeholder: "all", value: state.customer ?? "" });
  const plan = h("select", { id: "of-plan" }, h("option", { value: "" }, "all"));
  const known = h("datalist", { id: "known-customers" });
  customer.addEventListener("change", () => change("subscription", { customer: customer.value || undefined }));
  plan.addEventListener("change", () => change("subscription", { plan: plan.value || undefined }));
  fill(
    root,
    h("header", { class: "headline" }, h("div", null, h("h1", { class: "title" }, "Subscriptions"), h("p", { class: "span" }, "Choose one to see its period so far."))),
    h("div", { class: "fields" }, h("div", { class: "field" }, h("label", { for: "of-customer" }, "Customer"), customer), h("div", { class: "field" }, h("label", { for: "of-plan" }, "Plan"), plan), known),
    list,
  );
  suggest(state, plan, known);
  const filters = { customer: state.customer, plan: state.plan };
  const read = () => catalogue.subscriptions(filters, null, signal).catch((error) => {
    if (!catalogue.isHidden(error)) throw error;
    return null;
  });
  load(list, "subscriptions", signal, read, (page) => (page ? paint(list, page.subscriptions, page.next_cursor, filters, signal) : byId(list)));
}

// Where the key may not list subscriptions, one can still be named.
function byId(root) {
  const input = h("input", { id: "subscription-id", type: "text", maxlength: "255", autocomplete: "off", required: true });
  const submit = (event) => {
    event.preventDefault();
    if (input.value.trim()) change("subscription", { id: input.value.trim() });
  };
  fill(
    root,
    empty("Subscriptions are not listed", "This key does not have the scope “catalogue”. The usage of a subscription is shown by its id."),
    h("form", { class: "fields", onsubmit: submit }, h("div", { class: "field" }, h("label", { for: "subscription-id" }, "Subscription’s id"), input), h("button", { type: "submit", class: "primary" }, "Show usage")),
  );
}

async function suggest(state, plan, known) {
  try {
    const [plans, customers] = await Promise.all([catalogue.plans(), catalogue.customers()]);
    plan.append(...plans.map((each) => h("option", { value: each.code }, isolated(each.name || each.code))));
    known.append(...customers.map((each) => h("option", { value: each.id }, isolated(each.name || each.id))));
  } catch {
    // The list says what is wrong.
  }
  if (state.plan && ![...plan.options].some((each) => each.value === state.plan)) plan.append(h("option", { value: state.plan }, isolated(state.plan)));
  plan.value = state.plan ?? "";
}

function paint(root, subscriptions, cursor, filters, signal) {
  const more = cursor && h("button", { type: "button", onclick: (event) => next(root, event.target, subscriptions, cursor, filters, signal) }, "Show more");
  if (subscriptions.length === 0) {
    fill(root, cursor ? empty("None so far", "The list goes on.", more) : empty("No subscriptions", "None fits these filters.", h("a", { href: write("subscription", {}) }, "Show all")));
    return;
  }
  const now = Date.now();
  fill(
    root,
    table(
      "Subscriptions",
      [
        { title: "Subscription", row: true, cell: (each) => h("a", { href: write("subscription", { id: each.id }) }, stored(catalogue.externalId(each))) },
        { title: "Customer", cell: (each) => stored(each.customer) },
        { title: "Plan", cell: (each) => stored(catalogue.planOf(each) ?? "–") },
        { title: "Currency", cell: (each) => each.currency.toUpperCase() },
        { title: "Since", cell: (each) => instant(each.start, each.timezone) },
        { title: "State", cell: (each) => (each.end && Date.parse(each.end) <= now ? h("small", { class: "tag" }, "ended") : Date.parse(each.start) > now ? h("small", { class: "tag" }, "not begun") : h("small", { class: "tag good" }, "active")) },
      ],
      subscriptions,
      { class: "subscriptions" },
    ),
    more && h("p", null, more),
  );
}

async function next(root, button, subscriptions, cursor, filters, signal) {
  button.disabled = true;
  try {
    const page = await catalogue.subscriptions(filters, cursor, signal);
    paint(root, [...subscriptions, ...page.subscriptions], page.next_cursor, filters, signal);
  } catch (error) {
    if (!signal.aborted) button.replaceWith(failed(error, () => paint(root, subscriptions, cursor, filters, signal)));
  }
}
