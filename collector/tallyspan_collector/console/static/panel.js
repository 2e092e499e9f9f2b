// One panel: its frame, its figures, and the same figures as a table or a file.

import { get } from "./api.js";
import { make } from "./dom.js";
import { drawBars, drawGauges, drawStat } from "./draw_figures.js";
import { drawTable } from "./draw_table.js";
import { drawTime } from "./draw_time.js";
import { fieldsOf, wide } from "./fields.js";
import { daysOf } from "./place.js";

const DRAW = { stat: drawStat, bargauge: drawGauges, barchart: drawBars };

export class Panel {
  constructor(panel, uid) {
    this.panel = panel;
    this.uid = uid;
    this.isTable = false;
    this.sorting = {};
    this.hiddenNames = new Set();
    this.body = make("div", { class: "body" });
    this.note = make("p", { class: "note", role: "status", hidden: true });
    this.element = make("section", {
      class: `panel ${panel.type} loading`, "aria-label": panel.title, "data-panel": panel.id,
    }, make("header", {},
      make("h2", { text: panel.title }),
      make("button", { type: "button", class: "about", title: panel.description, "aria-label": `About ${panel.title}`, text: "i", onclick: () => this.#tell() }),
      make("span", { class: "actions" }, ...this.#actions())),
    this.note, this.body);
    const { x, y, w, h } = panel.gridPos;
    this.element.style.gridColumn = `${x + 1} / span ${w}`;
    this.element.style.gridRow = `${y + 1} / span ${h}`;
    this.element.style.setProperty("--rows", h);
  }

  /** Says that figures are on their way. */
  wait(place) {
    this.place = place;
    this.element.classList.add("loading");
  }

  /** Draws the figures, or says why there are none. */
  take({ answer, error }) {
    this.element.classList.remove("loading");
    this.element.classList.toggle("failed", error !== undefined);
    if (error === undefined) {
      this.answer = answer;
      this.draw();
    } else {
      this.body.replaceChildren(make("p", { class: "empty", role: "alert", text: error }));
    }
  }

  /** Says that no figures came; those that are drawn stay. */
  miss(sentence) {
    this.element.classList.remove("loading");
    if (this.answer) return;
    this.element.classList.add("failed");
    this.body.replaceChildren(make("p", { class: "empty", text: sentence }));
  }

  /** Draws what was fetched last, for example in other colours. */
  draw() {
    if (!this.answer) return;
    this.remove?.();
    this.remove = undefined;
    if (this.isTable || this.panel.type === "table") {
      const answer = this.panel.type === "timeseries" ? wide(this.panel, this.answer) : this.answer;
      drawTable(this.body, this.panel, answer, this.place, this.sorting);
    } else if (this.panel.type === "timeseries") {
      this.remove = drawTime(this.body, this.panel, this.answer, this.place, this.hiddenNames);
    } else {
      DRAW[this.panel.type](this.body, this.panel, this.answer, this.place);
    }
    const isCut = this.panel.type === "timeseries" && this.answer.rows.length < this.answer.total;
    if (isCut) this.body.append(make("p", { class: "cut", text: "There is more than is shown: choose a shorter range. CSV saves all." }));
  }

  #actions() {
    const { type, title } = this.panel;
    if (type === "stat" || type === "bargauge") return [];
    const save = make("button", { type: "button", text: "CSV", "aria-label": `Save ${title} as CSV`, onclick: () => this.#save() });
    if (type === "table") return [save];
    const table = make("button", {
      type: "button", text: "Table", "aria-pressed": "false", "aria-label": `Show ${title} as a table`,
      onclick: () => {
        this.isTable = !this.isTable;
        table.setAttribute("aria-pressed", String(this.isTable));
        this.draw();
      },
    });
    return [table, save];
  }

  #tell() {
    this.note.hidden = !this.note.hidden;
    this.note.textContent = this.note.hidden ? "" : this.panel.description;
  }

  async #save() {
    if (!this.answer) return;
    const { columns, rows } = await this.#whole();
    const fields = [...fieldsOf(this.panel, columns).values()];
    const shown = fields.map((field, number) => ({ field, number })).filter(({ field }) => !field.isHidden);
    const lines = [shown.map(({ field }) => field.title), ...rows.map((row) =>
      shown.map(({ field, number }) => (field.kind === "time" && row[number] !== null
        ? new Date(row[number]).toISOString() : row[number])))];
    const text = lines.map((line) => line.map(quoted).join(",")).join("\r\n");
    const url = URL.createObjectURL(new Blob([text, "\r\n"], { type: "text/csv;charset=utf-8" }));
    make("a", { href: url, download: `${this.panel.title.toLowerCase().replace(/\W+/g, "-")}_${daysOf(this.place).join("_")}.csv` }).click();
    URL.revokeObjectURL(url);
  }

  /** Returns the answer with all its rows, of which a page has the first thousands only. */
  async #whole() {
    if (this.answer.rows.length >= this.answer.total) return this.answer;
    const path = `/api/admin/dashboards/${encodeURIComponent(this.uid)}/panels/${this.panel.id}`;
    return get(`${path}?${this.place.query}&rows=all`);
  }
}

function quoted(value) {
  let text = value === null ? "" : String(value);
  // A spreadsheet would run what begins like a formula; names are written by strangers.
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text))) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
