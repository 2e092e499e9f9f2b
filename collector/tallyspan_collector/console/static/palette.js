// A colour for each name, the same on every page; what is no name is grey.

const COLOURS = [
  "#3b82f6", "#f59e0b", "#10b981", "#ef6f6c", "#8b5cf6", "#06b6d4", "#d946ef", "#84a916",
  "#f97316", "#6366f1", "#14b8a6", "#e05299", "#a0703c", "#0ea5e9", "#65a30d", "#9f67c9",
];
const GREY = ["#94a3b8", "#64748b"];

function hash(text) {
  let value = 2166136261;
  for (const character of text) value = Math.imul(value ^ character.codePointAt(0), 16777619);
  return (value ^ (value >>> 15)) >>> 0;
}

/** Returns name -> colour; two names of one picture differ while there are colours left. */
export function coloursOf(names) {
  const found = new Map();
  const taken = new Set();
  for (const name of [...names].sort()) {
    if (name.startsWith("(")) {
      found.set(name, GREY[name === "(all others)" ? 0 : 1]);
      continue;
    }
    let place = hash(name) % COLOURS.length;
    while (taken.has(place) && taken.size < COLOURS.length) place = (place + 1) % COLOURS.length;
    taken.add(place);
    found.set(name, COLOURS[place]);
  }
  return found;
}
