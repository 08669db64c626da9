// Elements, made from values. Whatever is given as a child becomes text, so that stored text is never markup.

export function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false));
  return element;
}

// Text that somebody has stored: its direction does not spread to what stands around it.
export const stored = (text, properties) => h("bdi", { class: "stored", title: text, ...properties }, text);

// The same where there can be no element, as in an option: between the characters that isolate.
export const isolated = (text) => `\u2068${text}\u2069`;

export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false));
  return element;
}

// One choice of a few, as buttons that say which is pressed.
export function choice(label, options, chosen, choose) {
  return h(
    "div",
    { class: "choice", role: "group", "aria-label": label },
    Object.entries(options).map(([value, text]) =>
      h("button", { type: "button", "aria-pressed": String(value === chosen), onclick: () => choose(value), "data-value": value }, text),
    ),
  );
}

// A table of columns `{title, cell, number, row}` over rows. `row` marks the column that names its row.
export function table(caption, columns, rows, properties) {
  const head = columns.map((each) => h("th", { scope: "col", class: each.number && "number" }, each.title));
  const body = rows.map((row) =>
    h(
      "tr",
      properties?.row?.(row),
      columns.map((each) =>
        h(each.row ? "th" : "td", { scope: each.row && "row", class: each.number && "number" }, each.cell(row)),
      ),
    ),
  );
  const foot = properties?.foot && h("tfoot", null, h("tr", null, columns.map((each, index) => h(each.row ? "th" : "td", { scope: each.row && "row", class: each.number && "number" }, properties.foot[index]))));
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { class: properties?.class }, h("caption", null, caption), h("thead", null, h("tr", null, head)), h("tbody", null, body), foot),
  );
}
