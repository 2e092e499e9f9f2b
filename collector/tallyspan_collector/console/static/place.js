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

/** Returns the address behind a link of a dashboard, for a row of a table. */
export function follow(link, row, place) {
  return link.url
    .replace(/\$\{__data\.fields\.(\w+)\}/g, (_, field) => encodeURIComponent(row[field] ?? ""))
    .replace("${__url_time_range}", new URLSearchParams({ from: place.from, to: place.to }).toString());
}
