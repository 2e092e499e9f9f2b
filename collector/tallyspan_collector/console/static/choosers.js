// What stands above a page: the range, and what is chosen of users, models and the like.

import { get } from "./api.js";
import { make } from "./dom.js";
import { moment } from "./format.js";
import { daysOf } from "./place.js";

const ALL = "$__all";
const MAX_DRAWN = 200; // the server lists one more, where there are more
const TYPING_MS = 200;
export const RANGES = [
  ["now-6h", "now", "Last 6 hours"],
  ["now-24h", "now", "Last 24 hours"],
  ["now-7d", "now", "Last 7 days"],
  ["now-30d", "now", "Last 30 days"],
  ["now-90d", "now", "Last 90 days"],
  ["now/d", "now", "Today"],
  ["now/M", "now", "This month so far"],
  ["now/M", "now/M", "This month"],
  ["now-1M/M", "now-1M/M", "Last month"],
  ["now/y", "now", "This year"],
];

function rangeText({ from, to }, zone) {
  const known = RANGES.find(([first, last]) => first === from && last === to);
  if (known) return known[2];
  const text = (value) => (/^\d{5,}$/.test(value) ? moment(Number(value), zone, { isDay: true }) : value);
  return `${text(from)} to ${text(to)}`;
}

/** Returns the chooser of the range; `go` takes what is to change. */
export function rangeChooser(place, zone, go) {
  const menu = dropdown(`${rangeText(place, zone)} (${zone})`, "Range");
  const list = make("ul", { class: "options" });
  for (const [from, to, text] of RANGES) {
    const isIt = from === place.from && to === place.to;
    list.append(make("li", {}, make("button", {
      type: "button", text, "aria-current": isIt ? "true" : undefined,
      onclick: () => { go({ from, to }); menu.close(); },
    })));
  }
  const [firstDay, lastDay] = daysOf(place);
  const first = make("input", { type: "date", id: "range-from", required: true, value: firstDay });
  const last = make("input", { type: "date", id: "range-to", required: true, value: lastDay, min: firstDay });
  first.addEventListener("input", () => { last.min = first.value; });
  const form = make("form", {
    class: "dates",
    onsubmit: (event) => {
      event.preventDefault();
      go({ from: first.value, to: last.value });
      menu.close();
    },
  }, make("label", { for: "range-from", text: "From" }), first, make("label", { for: "range-to", text: "To, included" }), last,
  make("button", { type: "submit", class: "primary", text: "Show" }));
  byArrows(list, "button");
  menu.panel.append(list, form);
  return menu.element;
}

/** Returns the chooser of a variable; its options are fetched when it is opened first. */
export function variableChooser(variable, place, query, go) {
  const chosen = (place.chosen[variable.name] ?? []).filter((value) => value !== ALL);
  const title = variable.label ?? variable.name;
  const menu = dropdown(`${title}: ${chosen.length === 0 ? (variable.multi ? "all" : "none") : chosen.map(nameOf).join(", ")}`, title);
  if (chosen.length > 0) menu.element.classList.add("active");
  const filter = make("input", { type: "search", placeholder: `Find a ${title.toLowerCase()}`, "aria-label": `Find a ${title.toLowerCase()}` });
  const list = make("ul", { class: "options", tabindex: "-1" }, make("li", { class: "empty", text: "loading" }));
  const selected = new Set(chosen);
  const fill = (options) => {
    list.replaceChildren(...options.slice(0, MAX_DRAWN).map(([value, label]) => option(value, label)));
    if (options.length === 0) list.append(make("li", { class: "empty", text: "nothing of that name in the range" }));
    if (options.length > MAX_DRAWN) list.append(make("li", { class: "empty", text: "There are more: type a part of the name." }));
  };
  const option = (value, label) => {
    if (!variable.multi) {
      return make("li", {}, make("button", {
        type: "button", text: label, "aria-current": selected.has(value) ? "true" : undefined,
        onclick: () => { go({ chosen: { ...place.chosen, [variable.name]: [value] } }); menu.close(); },
      }));
    }
    const box = make("input", { type: "checkbox", checked: selected.has(value), onchange: () => (box.checked ? selected.add(value) : selected.delete(value)) });
    return make("li", {}, make("label", {}, box, make("span", { text: label })));
  };
  byArrows(menu.panel, "input, .options button");
  menu.panel.append(filter, list);
  if (variable.multi) {
    const apply = (values) => { go({ chosen: { ...place.chosen, [variable.name]: values } }); menu.close(); };
    menu.panel.append(make("p", { class: "buttons" },
      make("button", { type: "button", text: "All", onclick: () => apply([]) }),
      make("button", { type: "button", class: "primary", text: "Show", onclick: () => apply([...selected]) })));
  }
  let request = new AbortController();
  const search = async () => {
    request.abort();
    request = new AbortController();
    const text = new URLSearchParams({ contains: filter.value });
    try {
      fill((await get(`/api/admin/dashboards/${place.uid}/variables/${variable.name}?${query}&${text}`, request.signal)).rows);
    } catch (error) {
      if (error.name !== "AbortError") list.replaceChildren(make("li", { class: "empty", text: error.message }));
    }
  };
  menu.onopen = () => {
    filter.focus();
    return search();
  };
  let typing;
  filter.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(search, TYPING_MS);
  });
  return menu.element;
}

/** Returns the name a key stands for. */
export function nameOf(key) {
  const bytes = new Uint8Array((key.slice(1).match(/../g) ?? []).map((each) => Number.parseInt(each, 16)));
  return new TextDecoder().decode(bytes) || "(nobody said)";
}

/** Lets the arrow keys go from one of the elements to the next. */
function byArrows(parent, selector) {
  parent.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.target.type === "date") return;
    event.preventDefault();
    const all = [...parent.querySelectorAll(selector)];
    all[all.indexOf(event.target) + step]?.focus();
  });
}

function dropdown(text, title) {
  const panel = make("div", { class: "dropdown", hidden: true, role: "dialog", "aria-label": title });
  const button = make("button", { type: "button", class: "opener", text, title: text, "aria-haspopup": "dialog", "aria-expanded": "false" });
  const element = make("div", { class: "chooser", "data-chooser": title }, button, panel);
  const menu = { element, panel, onopen: undefined };
  const outside = (event) => { if (!element.contains(event.target)) menu.close(); };
  menu.close = () => {
    panel.hidden = true;
    button.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", outside);
  };
  button.addEventListener("click", () => {
    if (!panel.hidden) return menu.close();
    panel.hidden = false;
    button.setAttribute("aria-expanded", "true");
    document.addEventListener("pointerdown", outside);
    return menu.onopen?.();
  });
  element.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !element.contains(event.relatedTarget)) menu.close();
  });
  element.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !panel.hidden) {
      menu.close();
      button.focus();
    }
  });
  return menu;
}
