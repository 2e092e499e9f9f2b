// Figures as people read them: the units that the dashboards use, as Grafana writes them.

const dollars = new Map();
const exactly = new Intl.NumberFormat("en-US", { maximumFractionDigits: 6 });
const whole = new Intl.NumberFormat("en-US");
const STEPS = [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "K"]];

function money(value, decimals) {
  if (!dollars.has(decimals)) {
    dollars.set(decimals, new Intl.NumberFormat("en-US", {
      style: "currency", currency: "USD", minimumFractionDigits: decimals, maximumFractionDigits: decimals,
    }));
  }
  // Less than can be shown is not nothing.
  const least = 10 ** -decimals;
  if (value !== 0 && Math.abs(value) < least / 2) return `${value < 0 ? "-" : ""}<$${least.toFixed(decimals)}`;
  return dollars.get(decimals).format(value);
}

function short(value, decimals) {
  const size = Math.abs(value);
  if (size < 10_000) return Number.isInteger(value) ? whole.format(value) : value.toFixed(decimals ?? 2);
  const [step, name] = STEPS.find(([each]) => size >= each);
  const scaled = value / step;
  return `${scaled.toFixed(Math.abs(scaled) < 100 ? 2 : 1)} ${name}`;
}

function seconds(value) {
  if (value === 0) return "0 s";
  const size = Math.abs(value);
  if (size < 1) return `${Math.round(value * 1000)} ms`;
  if (size < 90) return `${value.toFixed(1)} s`;
  if (size < 5400) return `${(value / 60).toFixed(1)} min`;
  if (size < 129_600) return `${(value / 3600).toFixed(1)} hours`;
  return `${(value / 86_400).toFixed(1)} days`;
}

function minutes(value) {
  return Math.abs(value) < 90 ? `${whole.format(value)} min` : seconds(value * 60);
}

/** Returns a moment (milliseconds) as 2026-11-24 09:12:33 in the zone. */
export function moment(value, zone, { isDay = false } = {}) {
  const parts = Object.fromEntries(new Intl.DateTimeFormat("en-CA", {
    timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit",
    minute: "2-digit", second: "2-digit", hourCycle: "h23",
  }).formatToParts(value).map((part) => [part.type, part.value]));
  const day = `${parts.year}-${parts.month}-${parts.day}`;
  return isDay ? day : `${day} ${parts.hour}:${parts.minute}:${parts.second}`;
}

/** Returns the figure in its unit; amounts come as exact text and are rounded only here. */
export function show(value, { unit, decimals, noValue, isDay } = {}, zone = "UTC") {
  if (value === null || value === undefined || value === "") return noValue ?? "";
  if (unit === "string") return String(value);
  if (unit === "dateTimeAsIso") return moment(value, zone, { isDay });
  const number = Number(value);
  if (!Number.isFinite(number)) return String(value);
  switch (unit) {
    case "currency:financial:$": return money(number, decimals ?? 2);
    case "locale": return exactly.format(number);
    case "percentunit": return `${(number * 100).toFixed(decimals ?? 1)}%`;
    case "s": return seconds(number);
    case "m": return minutes(number);
    default: return short(number, decimals);
  }
}

/** Returns the value without rounding, for who looks closely. */
export function exact(value, { unit } = {}, zone = "UTC") {
  if (value === null || value === undefined) return "";
  if (unit === "dateTimeAsIso") return `${moment(value, zone)} ${zone}`;
  if (unit === "currency:financial:$") return `$${value}`;
  return typeof value === "number" && Number.isInteger(value) ? whole.format(value) : String(value);
}
