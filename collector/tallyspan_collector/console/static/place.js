// Where the reader is: page, range and choices. All of it is in the address, as Grafana writes it.

export const HOME = "tallyspan-overview";
/** Returns { uid, from, to, chosen } of an address; without a range it is the dashboard's own. */
export function read(url = new URL(location.href)) {
  const uid = url.pathname.startsWith("/d/") ? decodeURIComponent(url.pathname.slice(3)) : HOME;
  const chosen = {};
  for (const [name, value] of url.searchParams) {
    if (name.startsWith("var-")) (chosen[name.slice(4)] ??= []).push(value);
  }
  return {
    uid,
    from: url.searchParams.get("from"),
    to: url.searchParams.get("to"),
    chosen,
  };
}

/** Returns the address of a place; only `variables`, if given, are kept of what is chosen. */
export function write({ uid, from, to, chosen }, variables) {
  const query = new URLSearchParams({ from, to });
  for (const [name, values] of Object.entries(chosen)) {
    if (variables && !variables.includes(name)) continue;
    for (const value of values) query.append(`var-${name}`, value);
  }
  return `/d/${encodeURIComponent(uid)}?${query}`;
}

/** Returns the first and the last day of a range (UTC), as 2026-11-24. */
export function daysOf({ from, to }, now = new Date()) {
  return [dayOf(from, false, now), dayOf(to, true, now)];
}

function dayOf(text, isEnd, now) {
  const match = /^now(?:-(\d+)([mhdwMy]))?(?:\/([dwMy]))?$/.exec(text);
  if (!match) return /^\d{5,}$/.test(text) ? new Date(Number(text)).toISOString().slice(0, 10) : text.slice(0, 10);
  const day = new Date(now);
  const back = Number(match[1] ?? 0);
  const milliseconds = { m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 }[match[2]];
  if (milliseconds) day.setTime(day.getTime() - back * milliseconds);
  else if (back > 0) {
    const wanted = day.getUTCDate();
    day.setUTCDate(1);
    day.setUTCMonth(day.getUTCMonth() - back * (match[2] === "y" ? 12 : 1));
    const most = new Date(Date.UTC(day.getUTCFullYear(), day.getUTCMonth() + 1, 0)).getUTCDate();
    day.setUTCDate(Math.min(wanted, most));
  }
  if (match[3] === "w") day.setUTCDate(day.getUTCDate() - ((day.getUTCDay() + 6) % 7) + (isEnd ? 6 : 0));
  if (match[3] === "M") day.setUTCMonth(day.getUTCMonth() + (isEnd ? 1 : 0), isEnd ? 0 : 1);
  if (match[3] === "y") day.setUTCMonth(isEnd ? 11 : 0, isEnd ? 31 : 1);
  return day.toISOString().slice(0, 10);
}

/** Returns the address behind a link of a dashboard, for a row of a table. */
export function follow(link, row, place) {
  return link.url
    .replace(/\$\{__data\.fields\.(\w+)\}/g, (_, field) => encodeURIComponent(row[field] ?? ""))
    .replace("${__url_time_range}", new URLSearchParams({ from: place.from, to: place.to }).toString());
}
