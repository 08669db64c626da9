// The state of the page is in the fragment of its address: `#/organization?by=month&currency=EUR`.

const DATE = /^\d{4}-\d{2}-\d{2}$/;
const isDate = (text) => DATE.test(text) && !Number.isNaN(Date.parse(text)) && new Date(text).toISOString().startsWith(text);
const isText = (text) => text.length > 0 && text.length <= 255;
const oneOf = (...values) => (text) => values.includes(text);
const isCode = (letters) => (text) => new RegExp(`^[A-Z]{${letters}}$`).test(text);

// Each view's parameters, each with what it may be.
export const VIEWS = {
  organization: {
    from: isDate,
    to: isDate,
    by: oneOf("daily", "weekly", "monthly", "yearly"),
    show: oneOf("money", "units"),
    currency: isCode(3),
    of: isText,
    customer: isText,
    subscription: isText,
    plan: isText,
    metric: isText,
    country: isCode(2),
    type: oneOf("individual", "company"),
    recurring: oneOf("true", "false"),
    only: isCode(3),
    split: oneOf("customers", "plans", "countries"),
  },
  subscription: { id: isText, customer: isText, plan: isText, instead: isText },
  events: {
    id: isText,
    subscription: isText,
    customer: isText,
    reason: oneOf("subscription", "customer", "time", "code", "line_item", "value"),
  },
};

// Read a fragment. What it has that is no state is left out, and named in `faults`.
export function parse(fragment) {
  const faults = [];
  const [path, query = ""] = fragment.replace(/^#/, "").replace(/^\/?/, "").split(/\?(.*)/s);
  let view = path;
  if (!Object.hasOwn(VIEWS, view)) {
    if (view !== "") faults.push(`there is no view “${view.slice(0, 80)}”`);
    view = "organization";
  }
  const state = {};
  for (const [name, value] of new URLSearchParams(query)) {
    const good = Object.hasOwn(VIEWS[view], name) ? VIEWS[view][name] : null;
    if (!good) faults.push(`“${name.slice(0, 80)}” is no filter here`);
    else if (!good(value)) faults.push(`“${name}” cannot be “${value.slice(0, 80)}”`);
    else state[name] = value;
  }
  return { view, state, faults };
}

export function write(view, state) {
  const query = new URLSearchParams();
  for (const name of Object.keys(VIEWS[view])) if (state[name]) query.set(name, state[name]);
  const text = query.toString();
  return `#/${view}${text && "?"}${text}`;
}

// Change some of the present state. It is read from the address: a view may show an older one yet.
export const change = (view, some) => go(view, { ...parse(location.hash).state, ...some });

// Go to a state. It is one step of the browser's history, so that “back” undoes it.
export function go(view, state, { replace = false } = {}) {
  const address = write(view, state);
  if (address === location.hash) return;
  if (replace) {
    history.replaceState(null, "", address);
    window.dispatchEvent(new HashChangeEvent("hashchange"));
  } else location.hash = address;
}
