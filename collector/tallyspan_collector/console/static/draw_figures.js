// Single figures, and bars of figures.

import { make } from "./dom.js";
import { fieldsOf, levelOf, objects } from "./fields.js";
import { exact, show } from "./format.js";
import { follow } from "./place.js";

const MAX_BARS = 200;

/** Draws a stat panel: the one figure of the one row. */
export function drawStat(body, panel, answer, place) {
  const { zone } = place;
  const [column] = answer.columns;
  const value = answer.rows.length > 0 ? answer.rows[0][0] : null;
  const field = column ? fieldsOf(panel, [column]).get(column.name) : {};
  const text = value === null ? nothing(panel, place) : show(value, field, zone);
  const level = levelOf(value, field.thresholds ?? []);
  const kind = value === null ? "none" : field.unit === "string" ? "name" : "amount";
  body.replaceChildren(make("p", {
    class: `figure ${kind} level-${level}`, text, title: exact(value, field, zone), "data-value": value,
  }));
}

/** Draws a bar gauge: each figure of the one row as a part of the whole. */
export function drawGauges(body, panel, answer, { zone }) {
  const fields = fieldsOf(panel, answer.columns);
  const [row] = objects(answer);
  const list = make("dl", { class: "gauges" });
  for (const field of fields.values()) {
    const value = row?.[field.name] ?? null;
    const level = levelOf(value, field.thresholds);
    const bar = make("span", { class: `bar level-${level}` });
    bar.style.inlineSize = `${100 * clamp(((value ?? 0) - field.min) / (field.max - field.min))}%`;
    list.append(make("dt", { text: field.title }), make("dd", {},
      make("span", { class: "track" }, bar),
      make("span", { class: `value level-${level}`, text: value === null ? "-" : show(value, field, zone) })));
  }
  body.replaceChildren(list);
}

/** Draws a bar chart: a bar a row, the longest first, MAX_BARS at most. */
export function drawBars(body, panel, answer, place) {
  const { zone } = place;
  const fields = [...fieldsOf(panel, answer.columns).values()];
  const rows = objects(answer);
  const label = fields.find((field) => field.name === panel.options.xField);
  const measure = fields.find((field) => field.kind !== "text" && !field.isHiddenInPicture);
  if (rows.length === 0) return empty(body, panel, place);
  const most = Math.max(...rows.map((row) => Number(row[measure.name] ?? 0)), 0);
  const list = make("ul", { class: "bars" });
  for (const row of rows.slice(0, MAX_BARS)) {
    const bar = make("span", { class: "bar" });
    bar.style.inlineSize = `${most > 0 ? 100 * clamp(Number(row[measure.name] ?? 0) / most) : 0}%`;
    const about = fields.filter((field) => field.unit !== "string")
      .map((field) => `${field.title}: ${exact(row[field.name], field, zone) || field.noValue || "unknown"}`).join("\n");
    const name = label.link
      ? make("a", { href: follow(label.link, row, place), "data-link": true, text: row[label.name] })
      : make("span", { text: row[label.name] });
    list.append(make("li", { title: about },
      make("span", { class: "label" }, name),
      make("span", { class: "value", text: show(row[measure.name], measure, zone), "data-value": row[measure.name] }),
      make("span", { class: "track" }, bar)));
  }
  const text = `${MAX_BARS} of ${show(answer.total ?? rows.length, { unit: "locale" })} are drawn; CSV saves all.`;
  body.replaceChildren(make("div", { class: "scroll", tabindex: "0" }, list),
    ...(rows.length > MAX_BARS ? [make("p", { class: "cut", role: "note", text })] : []));
}

/** Says why there is nothing to draw. */
export function empty(body, panel, place) {
  body.replaceChildren(make("p", { class: "empty", text: nothing(panel, place) }));
}

/** Returns the text for no figure; to who sees a part only it is about that part. */
function nothing(panel, { limits }) {
  const text = panel.fieldConfig.defaults.noValue;
  return limits ? `${text} (of what your key may see)` : text;
}

function clamp(value) {
  return Math.min(Math.max(value || 0, 0), 1);
}
