// What there is to choose from: the organization, its customers, plans, meters and subscriptions.
// A key without the scope "catalogue" reads none of it. Usage is shown all the same, under ids instead of names.

import { ApiError, call } from "./api.js";
import { key } from "./session.js";

// How many customers are read to be chosen from, and to know the countries: a form is no place for more.
export const MOST_CUSTOMERS = 1000;
const PAGE = 500;
let remembered = new Map();
let rememberedFor = "";

// Ask once for a key; another key may be another organization's.
function once(name, read) {
  if (rememberedFor !== key()) {
    remembered = new Map();
    rememberedFor = key();
  }
  if (!remembered.has(name)) {
    const asked = read().catch((error) => {
      remembered.delete(name);
      throw error;
    });
    remembered.set(name, asked);
  }
  return remembered.get(name);
}

export const isHidden = (error) => error instanceof ApiError && error.status === 403;

// Called when records turn out to be hidden from the key.
let tellHidden = () => {};
export const onHidden = (tell) => (tellHidden = tell);

// Read records, or what stands in for records that the key may not read.
async function unlessHidden(read, instead) {
  try {
    return await read();
  } catch (error) {
    if (!isHidden(error)) throw error;
    tellHidden();
    return Object.assign(instead, { hidden: true });
  }
}

// Without the organization's time zone, today is that of this browser.
const ownZone = () => ({ timezone: Intl.DateTimeFormat().resolvedOptions().timeZone });

export const organization = () => once("organization", () => unlessHidden(async () => (await call("catalogue/v1/organization")).data, ownZone()));
export const plans = () => once("plans", () => all("plans"));
export const meters = () => once("meters", () => all("meters"));
export const customers = () => once("customers", () => all("customers", MOST_CUSTOMERS));

const all = (kind, most = Infinity) => unlessHidden(() => pages(kind, most), []);

async function pages(kind, most) {
  const records = [];
  let cursor = null;
  do {
    const { data } = await call(`catalogue/v1/${kind}`, { query: { limit: PAGE, cursor } });
    records.push(...data[kind]);
    cursor = data.next_cursor;
  } while (cursor && records.length < most);
  return Object.assign(records.slice(0, most), { more: Boolean(cursor) });
}

export async function subscriptions(filters, cursor, signal) {
  const { data } = await call("catalogue/v1/subscriptions", { query: { limit: 50, cursor, ...filters }, signal });
  return data;
}

// A subscription's record; `{ id, hidden: true }` if the key may not read it.
export const subscription = (id, signal) => unlessHidden(async () => (await call(`catalogue/v1/subscriptions/${encodeURIComponent(id)}`, { signal })).data, { id });

// A fact that has always been so is a plain value, any other a list of what held since when.
export const facts = (value) => (Array.isArray(value) ? value : value === undefined || value === null ? [] : [{ value }]);

// The value of a dated fact that holds now.
export function now(value) {
  const at = new Date().toISOString();
  return facts(value).filter((each) => !each.since || each.since <= at).at(-1)?.value ?? null;
}

// The plan that a subscription has now, or will have first.
export const planOf = (subscription) => now(subscription.plan) ?? facts(subscription.plan)[0]?.value;

// Events name a subscription by its external id, which is its id unless the record says another.
export const externalId = (subscription) => subscription.external_id ?? subscription.id;
