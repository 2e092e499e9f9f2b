// What stands above a page: the range, and what is chosen of users, models and the like.

import { get } from "./api.js";
import { make } from "./dom.js";
import { moment } from "./format.js";

const ALL = "$__all";
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
      onclick: () => { menu.close(); go({ from, to }); },
    })));
  }
  const first = make("input", { type: "date", id: "range-from", required: true });
  const last = make("input", { type: "date", id: "range-to", required: true });
  const form = make("form", {
    class: "dates",
    onsubmit: (event) => {
      event.preventDefault();
      menu.close();
      go({ from: first.value, to: last.value });
    },
  }, make("label", { for: "range-from", text: "From" }), first, make("label", { for: "range-to", text: "To, included" }), last,
  make("button", { type: "submit", class: "primary", text: "Show" }));
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
    const wanted = filter.value.toLowerCase();
    const found = options.filter(([, label]) => label.toLowerCase().includes(wanted));
    list.replaceChildren(...found.slice(0, 200).map(([value, label]) => option(value, label)));
    if (found.length === 0) list.append(make("li", { class: "empty", text: "nothing of that name in the range" }));
    if (found.length > 200) list.append(make("li", { class: "empty", text: `${found.length - 200} more: type a part of the name` }));
  };
  const option = (value, label) => {
    if (!variable.multi) {
      return make("li", {}, make("button", {
        type: "button", text: label, "aria-current": selected.has(value) ? "true" : undefined,
        onclick: () => { menu.close(); go({ chosen: { ...place.chosen, [variable.name]: [value] } }); },
      }));
    }
    const box = make("input", { type: "checkbox", checked: selected.has(value), onchange: () => (box.checked ? selected.add(value) : selected.delete(value)) });
    return make("li", {}, make("label", {}, box, make("span", { text: label })));
  };
  menu.panel.append(filter, list);
  if (variable.multi) {
    const apply = (values) => { menu.close(); go({ chosen: { ...place.chosen, [variable.name]: values } }); };
    menu.panel.append(make("p", { class: "buttons" },
      make("button", { type: "button", text: "All", onclick: () => apply([]) }),
      make("button", { type: "button", class: "primary", text: "Show", onclick: () => apply([...selected]) })));
  }
  let options = null;
  menu.onopen = async () => {
    filter.focus();
    try {
      options ??= (await get(`/api/admin/dashboards/${place.uid}/variables/${variable.name}?${query}`)).rows;
      fill(options);
    } catch (error) {
      list.replaceChildren(make("li", { class: "empty", text: error.message }));
    }
  };
  filter.addEventListener("input", () => options && fill(options));
  return menu.element;
}

/** Returns the name a key stands for. */
export function nameOf(key) {
  const bytes = new Uint8Array((key.slice(1).match(/../g) ?? []).map((each) => Number.parseInt(each, 16)));
  return new TextDecoder().decode(bytes) || "(nobody said)";
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
  element.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !panel.hidden) {
      menu.close();
      button.focus();
    }
  });
  return menu;
}
