// What a part of the page shows while it has no numbers: it waits, there is nothing, or something went wrong.

import { explained } from "./api.js";
import { fill, h } from "./dom.js";

export const waiting = (what) =>
  h("div", { class: "state waiting" }, h("div", { class: "bones" }, h("i"), h("i"), h("i"), h("i"), h("i"), h("i"), h("i")), h("p", null, `Reading ${what} …`));

export const empty = (title, advice, ...actions) => h("div", { class: "state empty" }, h("p", { class: "state-title" }, title), h("p", null, advice), actions);

export function failed(error, again) {
  const [title, advice] = explained(error);
  return h("div", { class: "state failed", role: "alert" }, h("p", { class: "state-title" }, title), h("p", null, advice), again && h("button", { type: "button", onclick: again }, "Try again"));
}

// Fill an element with what `read` brings, through all of these states. A later call for the same element wins.
const turns = new WeakMap();
export async function load(element, what, signal, read, show) {
  const turn = {};
  turns.set(element, turn);
  const current = () => turns.get(element) === turn && !signal.aborted;
  // What is still there belongs to another question: it is shown faint.
  element.setAttribute("aria-busy", "true");
  // What comes at once needs no sign that it comes.
  const patience = setTimeout(() => current() && fill(element, waiting(what)), element.firstChild ? 150 : 0);
  try {
    const found = await read().finally(() => clearTimeout(patience));
    if (!current()) return;
    element.removeAttribute("aria-busy");
    await show(found);
  } catch (error) {
    if (!current() || error?.name === "AbortError") return;
    element.removeAttribute("aria-busy");
    fill(element, failed(error, () => load(element, what, signal, read, show)));
  }
}
