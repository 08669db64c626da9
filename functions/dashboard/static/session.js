// The key of this tab. It is typed once, kept in this tab's storage alone, and never stands in an address.

const STORED = "meterstone-key";
const LEFT = "meterstone-signed-out";
const demo = document.querySelector('meta[name="demo-key"]')?.content ?? "";

export const demoKey = () => demo;

export function key() {
  const stored = sessionStorage.getItem(STORED);
  if (stored) return stored;
  return sessionStorage.getItem(LEFT) ? "" : demo;
}

export function keep(text) {
  sessionStorage.setItem(STORED, text);
  sessionStorage.removeItem(LEFT);
}

export function forget() {
  sessionStorage.removeItem(STORED);
  sessionStorage.setItem(LEFT, "yes");
}
