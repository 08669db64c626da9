// The frame: which view is shown, signing in and out, the theme, and what is said above every view.

import { onRefusedKey, onSlow } from "./api.js";
import { fill, h } from "./dom.js";
import { parse, write } from "./fragment.js";
import { demoKey, forget, keep, key } from "./session.js";
import * as catalogue from "./catalogue.js";
import * as events from "./events.js";
import * as organization from "./organization.js";
import * as subscription from "./subscription.js";

const SHOWN = { organization, subscription, events };
const NAMES = { organization: "Organization", subscription: "Subscription", events: "Events" };
const main = document.querySelector("#main");
const notices = document.querySelector("#notices");
const last = {};
let mounted = null;

function show() {
  const { view, state, faults } = parse(location.hash);
  last[view] = state;
  fill(
    document.querySelector("#views"),
    Object.entries(NAMES).map(([name, title]) =>
      h("a", { href: write(name, last[name] ?? {}), "aria-current": name === view && "page" }, title),
    ),
  );
  document.title = `${NAMES[view]} · Meterstone`;
  tell("fault", faults.length > 0 && ["This address is not quite right: ", h("bdi", null, faults.join("; ")), ". The rest of it is shown."]);
  if (mounted?.view !== view) {
    mounted?.leave.abort();
    const leave = new AbortController();
    fill(main);
    mounted = { view, leave, update: SHOWN[view].mount(main, leave.signal) };
  }
  mounted.update(state);
  main.dataset.address = location.hash;
}

// A line above the view, one of each kind; `false` takes it away.
function tell(kind, content) {
  notices.querySelector(`.${kind}`)?.remove();
  if (content) notices.append(h("p", { class: `notice ${kind}` }, content));
}

// Ask for a key. All requests that need one wait for the same answer; what is on the page stays as it is.
let asking = null;
function ask(refused) {
  asking ??= new Promise((resolve) => {
    const input = h("input", { id: "key", name: "key", type: "password", autocomplete: "off", required: true, spellcheck: "false", value: refused ? "" : demoKey() });
    const dialog = h(
      "dialog",
      { class: "sign-in", "aria-labelledby": "sign-in-title", oncancel: (event) => event.preventDefault() },
      h(
        "form",
        {
          method: "dialog",
          onsubmit: (event) => {
            event.preventDefault();
            const text = input.value.trim();
            if (!/^[!-~]{1,512}$/.test(text)) {
              input.setCustomValidity("A key has neither spaces nor accents.");
              input.reportValidity();
              return;
            }
            keep(text);
            dialog.close();
            dialog.remove();
            asking = null;
            signedIn();
            resolve();
          },
        },
        h("img", { src: document.querySelector(".brand img").src, alt: "", width: "40", height: "40" }),
        h("h1", { id: "sign-in-title" }, refused ? "Your key is not accepted any more" : "Sign in"),
        h("p", null, refused ? "It was revoked, or mistyped. Type a key to go on: everything stays as it is." : "With an API key of your organization. It is kept in this tab alone, until you sign out or close it."),
        h("label", { for: "key" }, "API key"),
        input,
        h("button", { type: "submit", class: "primary" }, refused ? "Go on" : "Show usage"),
      ),
    );
    input.addEventListener("input", () => input.setCustomValidity(""));
    document.body.append(dialog);
    dialog.showModal();
    input.focus();
  });
  return asking;
}

async function signedIn() {
  document.querySelector("#sign-out").hidden = !key();
  tell("hidden", false);
  try {
    const { name, id, hidden } = await catalogue.organization();
    fill(document.querySelector("#organization"), hidden ? "Meterstone" : h("bdi", null, name || id));
  } catch {
    // The view says what is wrong.
  }
}

function signOut() {
  forget();
  mounted?.leave.abort();
  mounted = null;
  for (const name of Object.keys(last)) delete last[name];
  fill(main);
  fill(document.querySelector("#organization"), "Meterstone");
  tell("hidden", false);
  document.querySelector("#sign-out").hidden = true;
  history.replaceState(null, "", "#/organization");
  show();
}

const THEME = "meterstone-theme";
const dark = matchMedia("(prefers-color-scheme: dark)");
function paint() {
  const chosen = localStorage.getItem(THEME);
  const theme = chosen ?? (dark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = theme;
  const other = theme === "dark" ? "light" : "dark";
  const button = document.querySelector("#theme");
  fill(button, other === "dark" ? "Dark" : "Light");
  button.setAttribute("aria-label", `Use the ${other} theme`);
  button.onclick = () => {
    localStorage.setItem(THEME, other);
    paint();
  };
  window.dispatchEvent(new Event("themechange"));
}

dark.addEventListener("change", paint);
paint();
onRefusedKey(ask);
catalogue.onHidden(() => tell("hidden", "This key does not have the scope “catalogue”: usage is shown under ids instead of names, and there are no lists to choose from."));
onSlow((slow) => tell("slow", slow && "The API takes longer than usual. Still waiting …"));
document.querySelector("#sign-out").addEventListener("click", signOut);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
window.addEventListener("hashchange", show);
if (key()) signedIn();
show();
