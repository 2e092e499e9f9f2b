// One panel: its frame, its figures, and the same figures as a table or a file.

import { make } from "./dom.js";
import { drawBars, drawGauges, drawStat } from "./draw_figures.js";
import { drawTable } from "./draw_table.js";
import { drawTime } from "./draw_time.js";

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

  /** Draws what was fetched last, for example in other colours. */
  draw() {
    if (!this.answer) return;
    this.remove?.();
    this.remove = undefined;
    if (this.isTable || this.panel.type === "table") {
      drawTable(this.body, this.panel, this.answer, this.place, this.sorting);
    } else if (this.panel.type === "timeseries") {
      this.remove = drawTime(this.body, this.panel, this.answer, this.place, this.hiddenNames);
    } else {
      DRAW[this.panel.type](this.body, this.panel, this.answer, this.place);
    }
    if (this.answer.truncated) this.body.append(make("p", { class: "cut", text: "There is more than is shown: choose a shorter range." }));
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

  #save() {
    if (!this.answer) return;
    const lines = [this.answer.columns.map((column) => column.name), ...this.answer.rows.map((row) =>
      row.map((value, number) => (this.answer.columns[number].kind === "time" && value !== null
        ? new Date(value).toISOString() : value)))];
    const text = lines.map((line) => line.map(quoted).join(",")).join("\r\n");
    const url = URL.createObjectURL(new Blob([text, "\r\n"], { type: "text/csv;charset=utf-8" }));
    make("a", { href: url, download: `${this.panel.title.toLowerCase().replace(/\W+/g, "-")}.csv` }).click();
    URL.revokeObjectURL(url);
  }
}

function quoted(value) {
  let text = value === null ? "" : String(value);
  // A spreadsheet would run what begins like a formula; names are written by strangers.
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text))) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
