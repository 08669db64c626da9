// Numbers, money and times as the reader's locale writes them. Numbers come as text, and stay exact.

import { add, compare, isZero, shifted } from "./decimal.js";
import { h } from "./dom.js";

const LOCALE = navigator.language;

// ISO 4217's decimals where they are not 2. (Intl follows CLDR, which shows some currencies with fewer.)
const DECIMALS = {
  0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
  3: "BHD IQD JOD KWD LYD OMR TND",
  4: "CLF UYW",
};
const OTHERS = new Map(Object.entries(DECIMALS).flatMap(([places, codes]) => codes.split(" ").map((code) => [code, Number(places)])));
const SHOWN = 6;

export const decimals = (currency) => OTHERS.get(currency.toUpperCase()) ?? 2;

function currencyFormat(currency, least, most) {
  return new Intl.NumberFormat(LOCALE, {
    style: "currency",
    currency: currency.toUpperCase(),
    minimumFractionDigits: least,
    maximumFractionDigits: most,
  });
}

// An amount of a currency, in its major unit, as text: with all of the currency's decimals and no more.
export function money(amount, currency) {
  const places = decimals(currency);
  return currencyFormat(currency, places, places).format(amount);
}

export const minorMoney = (minor, currency) => money(shifted(minor, decimals(currency)), currency);

// A price of one unit, which may be far below the smallest coin.
export const unitPrice = (amount, currency) => currencyFormat(currency, Math.min(2, decimals(currency)), 18).format(amount);

export const signedMoney = (amount, currency) =>
  new Intl.NumberFormat(LOCALE, {
    style: "currency",
    currency: currency.toUpperCase(),
    minimumFractionDigits: decimals(currency),
    maximumFractionDigits: decimals(currency),
    signDisplay: "exceptZero",
  }).format(amount);

const plainNumber = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: SHOWN });
const wholeNumber = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });
const exactNumber = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 18 });
const shortNumber = new Intl.NumberFormat(LOCALE, { notation: "compact", maximumFractionDigits: 1 });

// A quantity with at most six decimals; one that has more is marked, and keeps the rest in `title`.
export function quantity(text) {
  const cut = String(text).replace(/(\.\d{6})\d+$/, "$1");
  const rounded = compare(cut, text) !== 0;
  return `${rounded ? "≈\u00a0" : ""}${plainNumber.format(String(text))}`;
}

export const whole = (text) => wholeNumber.format(text);
export const short = (number) => shortNumber.format(number);
export const shortMoney = (number, currency) =>
  new Intl.NumberFormat(LOCALE, { style: "currency", currency, notation: "compact", minimumFractionDigits: 0, maximumFractionDigits: Math.min(1, decimals(currency)) || 0 }).format(number);
const TINY = 0.001;
export const percent = (share) => (share > 0 && share < TINY ? `< ${percentage(TINY)}` : percentage(share));
const percentage = (share) => new Intl.NumberFormat(LOCALE, { style: "percent", maximumFractionDigits: share < 0.1 ? 1 : 0 }).format(share);

// Both as elements that also say their exact value, for tools, for tests and for whoever hovers.
export const amountCell = (minor, currency) => h("data", { value: String(minor), class: isZero(minor) && "zero" }, minorMoney(minor, currency));
export const majorCell = (amount, currency) => h("data", { value: String(amount), class: isZero(amount) && "zero" }, money(amount, currency));
export const quantityCell = (text) => h("data", { value: String(text), title: exactNumber.format(String(text)), class: isZero(text) && "zero" }, quantity(text));

const utc = (options) => new Intl.DateTimeFormat(LOCALE, { timeZone: "UTC", ...options });
const DAY = utc({ day: "numeric", month: "short", year: "numeric" });
const BUCKETS = {
  daily: utc({ day: "numeric", month: "short", year: "numeric" }),
  weekly: utc({ day: "numeric", month: "short", year: "numeric" }),
  monthly: utc({ month: "short", year: "numeric" }),
  yearly: utc({ year: "numeric" }),
};
const AXIS = { ...BUCKETS, daily: utc({ day: "numeric", month: "short" }), weekly: utc({ day: "numeric", month: "short" }) };

// Calendar days come as `2026-11-26`; they have no zone.
export const day = (date) => DAY.format(Date.parse(date));
export const bucket = (date, by) => `${by === "weekly" ? "week of " : ""}${BUCKETS[by].format(Date.parse(date))}`;
export const axisLabel = (date, by) => AXIS[by].format(Date.parse(date));
export const days = (from, to) => DAY.formatRange(Date.parse(from), Date.parse(to));

export function instant(text, zone, seconds) {
  const options = { dateStyle: "medium", timeStyle: seconds ? "medium" : "short", ...(zone && { timeZone: zone }) };
  return h("time", { datetime: text, title: text }, new Intl.DateTimeFormat(LOCALE, options).format(Date.parse(text)));
}

// The days of a period whose end is the first instant after it.
export function period(start, end, zone) {
  const format = new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium", timeZone: zone });
  return format.formatRange(Date.parse(start), Math.max(Date.parse(start), Date.parse(end) - 1));
}

// The same to the minute, in the reader's own zone.
export const span = (start, end) =>
  new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium", timeStyle: "short" }).formatRange(Date.parse(start), Date.parse(end));

// Today's date in a zone, as `2026-11-26`.
export const today = (zone) => new Intl.DateTimeFormat("en-CA", { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit" }).format(new Date());

export const ownZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;

const REGIONS = new Intl.DisplayNames(LOCALE, { type: "region", fallback: "code" });
export const country = (code) => REGIONS.of(code);

export const total = (texts) => (texts.length ? add(...texts) : "0");
