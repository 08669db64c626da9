// What there is to choose from: the organization, its customers, plans, meters and subscriptions.

import { call } from "./api.js";
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

export const organization = () => once("organization", async () => (await call("catalogue/v1/organization")).data);
export const plans = () => once("plans", () => all("plans"));
export const meters = () => once("meters", () => all("meters"));
export const customers = () => once("customers", () => all("customers", MOST_CUSTOMERS));

async function all(kind, most = Infinity) {
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

export async function subscription(id, signal) {
  return (await call(`catalogue/v1/subscriptions/${encodeURIComponent(id)}`, { signal })).data;
}

// The value of a dated fact that holds now.
export function now(facts) {
  const at = new Date().toISOString();
  return facts.filter((each) => !each.since || each.since <= at).at(-1)?.value ?? null;
}
