// Exact sums of decimal text. JavaScript's numbers would lose digits of both money and units.

const PLACES = 18;
const ONE = 10n ** BigInt(PLACES);

function scaled(text) {
  const [mantissa, exponent = "0"] = String(text).toLowerCase().split("e");
  const negative = mantissa.startsWith("-");
  const [whole, fraction = ""] = mantissa.replace(/^[-+]/, "").split(".");
  const places = PLACES + Number(exponent) - fraction.length;
  const digits = BigInt(whole + fraction);
  const value = places >= 0 ? digits * 10n ** BigInt(places) : digits / 10n ** BigInt(-places);
  return negative ? -value : value;
}

function written(value) {
  const size = value < 0n ? -value : value;
  const fraction = String(size % ONE).padStart(PLACES, "0").replace(/0+$/, "");
  return `${value < 0n ? "-" : ""}${size / ONE}${fraction && "."}${fraction}`;
}

export const add = (...texts) => written(texts.reduce((sum, each) => sum + scaled(each), 0n));
export const subtract = (left, right) => written(scaled(left) - scaled(right));
export const compare = (left, right) => {
  const difference = scaled(left) - scaled(right);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
};
export const isZero = (text) => scaled(text) === 0n;
export const isNegative = (text) => scaled(text) < 0n;

// Minor units of a currency as its major unit: 1234 with 2 places is 12.34.
export const shifted = (integer, places) => written(scaled(integer) / 10n ** BigInt(places));

// How far one amount is into another, from 0 to 1: for the length of a bar alone.
export const ratio = (part, whole) => {
  const all = scaled(whole);
  if (all <= 0n) return 0;
  const thousandths = Number((scaled(part) * 10000n) / all) / 10000;
  return Math.max(0, Math.min(1, thousandths));
};
