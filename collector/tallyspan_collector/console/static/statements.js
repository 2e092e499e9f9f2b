// Statements on the page Months: a form of links, for each month and department the reader may see.

import { get } from "./api.js";
import { make } from "./dom.js";

const MONTHS = "tallyspan-months";
const FORMATS = ["pdf", "csv", "parquet"];
const MAX_ROWS = 500;

/** Returns the section of statements on the page of months; null on any other page. */
export function statements(place) {
  if (place.uid !== MONTHS) return null;
  const body = make("div", { class: "body" }, make("p", { class: "empty", text: "loading" }));
  fill(body);
  return make("section", { class: "explanation", "aria-label": "Statements" },
    make("h2", { text: "Statements" }), body);
}

async function fill(body) {
  try {
    const { departments } = await get("/api/admin/months/departments");
    if (departments.length === 0) return body.replaceChildren(make("p", { class: "empty", text: "no month with calls" }));
    const months = [...new Set(departments.map((each) => each.month))];
    const list = make("div", {});
    const show = (month) => list.replaceChildren(table(departments.filter((each) => each.month === month)));
    const chooser = make("select", { "aria-label": "Month", onchange: () => show(chooser.value) },
      ...months.map((month) => make("option", { value: month, text: month.slice(0, 7) })));
    // The newest month that is closed: an open one has provisional statements.
    chooser.value = departments.find((each) => each.state === "closed")?.month ?? months[0];
    show(chooser.value);
    body.replaceChildren(make("label", { class: "month", text: "Month " }, chooser), list);
  } catch (error) {
    body.replaceChildren(make("p", { class: "empty", text: error.message }));
  }
}

function table(rows) {
  const more = rows.length - MAX_ROWS;
  const hasTenants = rows.some((each) => each.tenant !== "");
  return make("div", {},
    make("ul", { class: "statements" }, ...rows.slice(0, MAX_ROWS).map((row) => line(row, hasTenants))),
    more > 0 ? make("p", { text: `and ${more} more: tallyspan statement ${rows[0].month.slice(0, 7)}` }) : null);
}

function line(row, hasTenants) {
  const name = hasTenants ? `${row.tenant || "(none)"}: ${row.department || "(none)"}` : row.department || "(none)";
  const state = row.state === "closed" ? `closed, version ${row.version}` : "provisional";
  return make("li", {}, make("span", { text: name }), make("small", { text: state }),
    ...FORMATS.map((format) => make("a", { href: address(row, format), download: true, text: format.toUpperCase(), "aria-label": `${format.toUpperCase()} of ${name}` })));
}

function address({ month, department, tenant }, format) {
  const query = new URLSearchParams({ department, tenant, format });
  return `/api/admin/statements/${month.slice(0, 7)}?${query}`;
}
