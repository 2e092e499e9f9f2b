// The console: reads the address, draws the dashboard it names, follows links.

import { get, LoggedOut, post, stream } from "./api.js";
import { rangeChooser, variableChooser } from "./choosers.js";
import { make } from "./dom.js";
import { explanation } from "./explanation.js";
import { Panel } from "./panel.js";
import * as address from "./place.js";
import { statements } from "./statements.js";

const page = document.querySelector("#page");
const top = document.querySelector("#top");
const menu = document.querySelector("#menu");
const warning = make("p", { class: "warning", role: "alert", hidden: true });
const dashboards = new Map();
let panels = [];
let current = null;
let reader = null;
let focusAfter = null; // the chooser that a page is laid anew for
let refreshing = null;

/** Draws the place the address names. */
async function open() {
  const place = address.read();
  page.setAttribute("aria-busy", "true");
  try {
    const isOpen = current || document.documentElement.dataset.session === "open";
    if (!isOpen && !(await get("/session")).open) return askForKey();
    const asked = reader ?? get("/api/admin/dashboards").then((answer) => answer.reader);
    if (!dashboards.has(place.uid)) {
      dashboards.set(place.uid, await get(`/api/admin/dashboards/${encodeURIComponent(place.uid)}`));
    }
    reader = await asked;
    const dashboard = dashboards.get(place.uid);
    top.hidden = false;
    place.from ??= dashboard.time.from;
    place.to ??= dashboard.time.to;
    await choose(dashboard, place);
    lay(dashboard, place);
    await load();
  } catch (error) {
    fail(error);
  }
}

/** A page of one user or one conversation shows the first there is, if none is chosen. */
async function choose(dashboard, place) {
  for (const variable of dashboard.templating.list) {
    if (variable.multi || place.chosen[variable.name]) continue;
    const options = await get(`/api/admin/dashboards/${place.uid}/variables/${variable.name}?${rangeOf(place)}`);
    if (options.rows.length === 0) continue;
    place.chosen[variable.name] = [options.rows[0][0]];
    history.replaceState(null, "", address.write(place));
  }
}

function lay(dashboard, place) {
  const variables = dashboard.templating.list.map((each) => each.name);
  const title = dashboard.title.replace(/^Tallyspan: /, "");
  const zone = zoneOf(dashboard);
  document.title = `${title} - Tallyspan`;
  menu.replaceChildren(...dashboard.links.map((link) => {
    const uid = link.url.slice("/d/".length);
    const isHere = uid === place.uid;
    return make("a", { href: address.write({ ...place, uid }), "data-link": true, text: link.title, "aria-current": isHere ? "page" : undefined });
  }));
  menu.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  for (const panel of panels) panel.remove?.();
  panels = dashboard.panels.map((panel) => new Panel(panel, place.uid));
  const go = (change) => {
    focusAfter = document.activeElement?.closest(".chooser")?.dataset.chooser ?? null;
    visit(address.write({ ...place, ...change }, variables));
  };
  page.replaceChildren(
    make("div", { class: "heading" },
      make("div", {}, make("h1", { text: title }), make("p", { class: "about-page", text: dashboard.description }),
        limits() ? make("p", { class: "limits", text: `Key ${reader.name}: ${limits()} only, on every page.` }) : null),
      make("div", { class: "choosers" },
        ...dashboard.templating.list.map((each) => variableChooser(each, place, rangeOf(place), go)),
        rangeChooser(place, zone, go),
        make("button", { type: "button", class: "refresh", text: "↻", title: "Ask again", "aria-label": "Ask again", onclick: () => load() }))),
    warning,
    make("div", { class: "grid" }, ...panels.map((panel) => panel.element)),
    ...[explanation(place), statements(place)].filter(Boolean));
  if (focusAfter !== null) page.querySelector(`[data-chooser="${focusAfter}"] .opener`)?.focus();
  focusAfter = null;
  current = { dashboard, place, variables, zone };
}

/** Asks for the figures of all panels, each drawn as it comes. */
async function load() {
  refreshing?.abort();
  refreshing = new AbortController();
  const { place, variables, zone } = current;
  const query = new URLSearchParams(rangeOf(place));
  for (const name of variables) for (const value of place.chosen[name] ?? []) query.append(`var-${name}`, value);
  const drawn = { ...place, zone, range: secondsOf(place), query, limits: limits() };
  const waiting = new Map(panels.map((panel) => [panel.panel.id, panel]));
  const { signal } = refreshing;
  const take = ({ panel, ...said }) => {
    const found = waiting.get(panel);
    waiting.delete(panel);
    found?.take(said);
  };
  let problem = "the collector ended its answer before it came to this panel";
  warning.hidden = true;
  try {
    page.setAttribute("aria-busy", "true");
    for (const panel of panels) panel.wait(drawn);
    await stream(`/api/admin/dashboards/${encodeURIComponent(place.uid)}/panels?${query}`, signal, take);
  } catch (error) {
    if (error.name === "AbortError" || error instanceof LoggedOut) return fail(error);
    problem = "no figures came";
    warning.textContent = `No figures came: ${error.message}`;
    warning.hidden = false;
  }
  for (const panel of waiting.values()) panel.miss(problem);
  page.setAttribute("aria-busy", "false");
}

function fail(error) {
  if (error.name === "AbortError") return;
  if (error instanceof LoggedOut) return askForKey(error.message);
  page.setAttribute("aria-busy", "false");
  page.replaceChildren(make("div", { class: "problem", role: "alert" },
    make("h1", { text: "This page cannot be shown" }), make("p", { text: error.message }),
    make("p", {}, make("a", { href: "/", "data-link": true, text: "To the overview" }))));
}

/** Asks for a key; `reason` is why the session that was open is none any more. */
function askForKey(reason = "") {
  refreshing?.abort();
  page.setAttribute("aria-busy", "false");
  top.hidden = true;
  current = null;
  reader = null;
  dashboards.clear();
  delete document.documentElement.dataset.session;
  const key = make("input", { type: "password", id: "key", autocomplete: "current-password", required: true, spellcheck: "false" });
  const problem = make("p", { class: "wrong", role: "alert", text: reason });
  const form = make("form", {
    class: "login",
    onsubmit: async (event) => {
      event.preventDefault();
      try {
        await post("/login", { key: key.value });
        page.replaceChildren();
        await open();
      } catch (error) {
        problem.textContent = error.message;
        key.select();
      }
    },
  }, make("img", { src: new URL("icon.svg", import.meta.url).href, alt: "", width: "48", height: "48" }),
  make("h1", { text: "Tallyspan" }), make("p", { text: "What your LLM calls cost. Costs are for admins." }),
  make("input", { type: "text", autocomplete: "username", value: "tallyspan", hidden: true }), // for password managers
  make("label", { for: "key", text: "Admin key" }), key, problem,
  make("button", { type: "submit", class: "primary", text: "Log in" }),
  make("p", { class: "hint", text: "The operator has it: tallyspan up prints the name of its file, or it is TALLYSPAN_ADMIN_KEY." }));
  document.title = "Log in - Tallyspan";
  page.replaceChildren(form);
  key.focus();
}

/** Returns what the reader's key is limited to; empty: to nothing. */
function limits() {
  return [...reader.departments.map((name) => `department ${name}`), ...reader.tenants.map((name) => `tenant ${name}`)].join(", ");
}

function rangeOf({ from, to }) {
  return new URLSearchParams({ from, to }).toString();
}

/** Returns both ends of the range in seconds, roughly: what the pictures begin and end with. */
function secondsOf({ from, to }) {
  const units = { m: 60, h: 3600, d: 86_400, w: 604_800, M: 2_629_746, y: 31_556_952 };
  const read = (text, isEnd) => {
    const match = /^now(?:-(\d+)([mhdwMy]))?(?:\/([dwMy]))?$/.exec(text);
    if (!match) return (/^\d{5,}$/.test(text) ? Number(text) : Date.parse(text) + (isEnd ? 86_400_000 : 0)) / 1000;
    if (match[3]) return isEnd ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY; // the data says it
    return Date.now() / 1000 - Number(match[1] ?? 0) * (units[match[2]] ?? 0);
  };
  return [read(from, false), read(to, true)];
}

function zoneOf(dashboard) {
  return !dashboard.timezone || dashboard.timezone === "utc" ? "UTC" : dashboard.timezone;
}

function visit(url) {
  history.pushState(null, "", url);
  window.scrollTo(0, 0);
  open();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-link]");
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  visit(link.href);
});
addEventListener("popstate", open);

const THEMES = { light: "☀ Light", dark: "☾ Dark", auto: "◐ Auto" };
const themeButton = document.querySelector("#theme");
function showTheme() {
  themeButton.textContent = THEMES[document.documentElement.dataset.theme ?? "auto"];
  for (const panel of panels) panel.draw();
}
themeButton.addEventListener("click", () => {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % names.length];
  if (next === "auto") {
    delete document.documentElement.dataset.theme;
    localStorage.removeItem("tallyspan-theme");
  } else {
    document.documentElement.dataset.theme = next;
    localStorage.setItem("tallyspan-theme", next);
  }
  showTheme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
document.querySelector("#logout").addEventListener("click", async () => {
  try {
    await post("/logout");
  } catch (error) {
    warning.textContent = `You are still logged in: ${error.message}`;
    warning.hidden = false;
    return;
  }
  askForKey();
});
setInterval(() => { if (current && !document.hidden) load(); }, 5 * 60_000);

showTheme();
open();
