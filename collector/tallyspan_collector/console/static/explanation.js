// How the price of one call was made: what no query can tell, asked of the price book.

import { get } from "./api.js";
import { nameOf } from "./choosers.js";
import { make } from "./dom.js";

const CALL = "tallyspan-call";

/** Returns the section of a place that is about one call; null for any other place. */
export function explanation(place) {
  const [key] = place.chosen.call ?? [];
  if (place.uid !== CALL || !key) return null;
  const body = make("div", { class: "body" }, make("p", { class: "empty", text: "loading" }));
  fill(body, nameOf(key));
  return make("section", { class: "explanation", "aria-label": "How the price was made" },
    make("h2", { text: "How the price was made" }), body);
}

async function fill(body, logId) {
  try {
    const why = await get(`/api/admin/calls/${encodeURIComponent(logId)}/explanation`);
    body.replaceChildren(...sections(why));
  } catch (error) {
    body.replaceChildren(make("p", { class: "empty", text: error.message }));
  }
}

function sections(why) {
  const flags = why.price_flags.map((flag) => make("li", { text: `undecided: ${flag}` }));
  if (why.other_cost_usd !== null) flags.push(make("li", { text: `decided the other way: ${why.other_cost_usd} USD` }));
  const cost = why.cost_usd === null ? `no cost: ${why.unpriced_reason || why.cost_status}` : `${why.cost_usd} USD (${why.cost_status})`;
  const isTold = why.steps.length + why.arithmetic.length > 0;
  return [
    isTold ? null : make("p", { class: "empty", text: "The price book of today does not have the price that was used." }),
    make("ol", { class: "steps" }, ...why.steps.map(step)),
    make("ul", { class: "arithmetic" }, ...why.arithmetic.map((line) => make("li", { text: line })),
      make("li", { class: "sum", text: cost })),
    flags.length > 0 ? make("ul", { class: "flags" }, ...flags) : null,
    why.unread.length > 0 ? make("p", { text: `Usage that no rule reads: ${why.unread.join(", ")}` }) : null,
  ].filter((each) => each !== null);
}

function step({ text, origin }) {
  return make("li", {}, make("span", { text }), origin === null ? null : from(origin));
}

function from({ file, line, source, checked, evidence, note }) {
  const texts = [line ? `${file}:${line}` : file, checked && `checked ${checked}`, evidence && `evidence ${evidence}`, note];
  const isLink = /^https:\/\//.test(source);
  return make("small", {}, texts.filter(Boolean).join(", "), source ? " " : null,
    isLink ? make("a", { href: source, rel: "noreferrer noopener", target: "_blank", text: source }) : source || null);
}
