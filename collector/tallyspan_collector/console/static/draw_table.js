// Tables that can be sorted, and whose cells lead to other pages.

import { make } from "./dom.js";
import { empty } from "./draw_figures.js";
import { fieldsOf, levelOf, objects } from "./fields.js";
import { exact, show } from "./format.js";
import { follow } from "./place.js";

export const MAX_DRAWN = 500;

/** Draws a table panel, MAX_DRAWN rows at most; `sorting`, of all rows, is kept by the caller. */
export function drawTable(body, panel, answer, place, sorting = {}) {
  const fields = [...fieldsOf(panel, answer.columns).values()].filter((field) => !field.isHidden);
  const rows = objects(answer);
  if (rows.length === 0) return empty(body, panel, place);
  for (const field of fields.filter((each) => each.isBar)) {
    field.most = field.isLevelled ? field.max : Math.max(...rows.map((row) => Number(row[field.name] ?? 0)));
  }
  const redraw = () => {
    drawTable(body, panel, answer, place, sorting);
    body.querySelector(`th[aria-sort$="ing"] button`)?.focus();
  };
  const scroll = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Rows of ${panel.title}` },
    make("table", {},
      make("thead", {}, make("tr", {}, ...fields.map((field) => heading(field, sorting, redraw)))),
      make("tbody", {}, ...sorted(rows, sorting).slice(0, MAX_DRAWN).map((row) =>
        make("tr", {}, ...fields.map((field) => cell(field, row, place)))))));
  const at = body.querySelector(".scroll");
  const [top, left] = at ? [at.scrollTop, at.scrollLeft] : [0, 0];
  body.replaceChildren(scroll, ...cut(answer, rows.length));
  scroll.scrollTop = top;
  scroll.scrollLeft = left;
}

/** Returns a line that tells how many rows there are, where not all are drawn. */
function cut({ total = 0 }, sortable) {
  const all = Math.max(total, sortable);
  if (all <= MAX_DRAWN) return [];
  const order = all > sortable ? `; sorted are the first ${count(sortable)}` : ", sorting is of all";
  return [make("p", { class: "cut", role: "note", text: `${count(MAX_DRAWN)} of ${count(all)} rows are drawn${order}; CSV saves all.` })];
}

function count(value) {
  return show(value, { unit: "locale" });
}

function heading(field, sorting, redraw) {
  const isSorted = sorting.by === field.name;
  const order = isSorted ? (sorting.isUp ? "ascending" : "descending") : "none";
  const sort = () => {
    // Figures are looked at from the largest, names from the first.
    sorting.isUp = isSorted ? !sorting.isUp : field.kind === "text";
    sorting.by = field.name;
    redraw();
  };
  return make("th", { scope: "col", "aria-sort": order, class: field.kind === "text" ? "" : "number" },
    make("button", { type: "button", onclick: sort, text: field.title }));
}

function cell(field, row, { zone, from, to }) {
  const value = row[field.name];
  const isNothing = value === null || value === "";
  const text = show(value, field, zone);
  const shown = field.link && !isNothing
    ? make("a", { href: follow(field.link, row, { from, to }), "data-link": true, text })
    : make("span", { text, class: isNothing ? "missing" : `level-${field.levels?.[value]?.color ?? "text"}` });
  const element = make("td", {
    class: field.kind === "text" ? (field.isWrapped ? "wrapped" : "") : "number", title: exact(value, field, zone), "data-value": value,
  }, shown);
  if (field.isBar) {
    const bar = make("span", { class: `bar level-${field.isLevelled ? levelOf(value, field.thresholds) : "text"}` });
    bar.style.inlineSize = `${field.most > 0 ? Math.min((100 * Math.max(Number(value ?? 0), 0)) / field.most, 100) : 0}%`;
    element.classList.add("with-bar");
    element.prepend(make("span", { class: "track", "aria-hidden": "true" }, bar));
  }
  return element;
}

function sorted(rows, { by, isUp }) {
  if (!by) return rows;
  const sign = isUp ? 1 : -1;
  const isText = rows.some((row) => typeof row[by] === "string" && Number.isNaN(Number(row[by])));
  return [...rows].sort((one, other) => {
    const [a, b] = [one[by], other[by]];
    if (a === null || b === null) return Number(a === null) - Number(b === null); // unknown comes last
    return sign * (isText ? String(a).localeCompare(String(b)) : Number(a) - Number(b));
  });
}
