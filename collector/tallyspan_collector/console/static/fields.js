// How a dashboard says its fields look: the defaults of a panel and the overrides of a column.

/** Returns name -> how the field looks, for the columns of an answer. */
export function fieldsOf(panel, columns) {
  return new Map(columns.map((column) => [column.name, fieldOf(panel, column)]));
}

function fieldOf(panel, column) {
  const { defaults, overrides } = panel.fieldConfig;
  const field = {
    name: column.name,
    kind: column.kind,
    unit: { text: "string", time: "dateTimeAsIso" }[column.kind] ?? defaults.unit,
    decimals: defaults.decimals,
    noValue: "",
    title: column.title ?? column.name,
    isDay: column.isDay,
    thresholds: defaults.thresholds?.steps ?? [],
    min: defaults.min,
    max: defaults.max,
  };
  for (const { matcher, properties } of overrides ?? []) {
    if (!matches(matcher, column.name)) continue;
    for (const { id, value } of properties) apply(field, id, value);
  }
  return field;
}

function matches({ id, options }, name) {
  if (id === "byName") return options === name;
  if (id === "byRegexp") return new RegExp(options.replace(/^\/|\/$/g, "")).test(name);
  return false;
}

function apply(field, id, value) {
  switch (id) {
    case "displayName": field.title = value; break;
    case "unit": field.unit = value; break;
    case "decimals": field.decimals = value; break;
    case "noValue": field.noValue = value; break;
    case "links": [field.link] = value; break;
    case "custom.cellOptions":
      field.isBar = value.type === "gauge";
      field.isWrapped = value.wrapText === true;
      break;
    case "thresholds": field.thresholds = value.steps; field.isLevelled = true; break;
    case "max": field.max = value; break;
    case "mappings": field.levels = value[0].options; break;
    case "custom.hidden": field.isHidden = value; break;
    case "custom.hideFrom": field.isHiddenInPicture = value.viz; break;
    default: break;
  }
}

/** Returns the name of the colour that the thresholds give the value. */
export function levelOf(value, thresholds) {
  let level = "text";
  if (value === null) return level;
  for (const step of thresholds) {
    if (step.value === null || step.value === undefined || Number(value) >= step.value) level = step.color;
  }
  return level;
}

/** Returns figures over time with a row a time, and a column a series where texts name them. */
export function wide(panel, { columns, rows }) {
  const time = columns.findIndex((column) => column.kind === "time");
  const labels = columns.map((column, number) => (column.kind === "text" ? number : -1)).filter((number) => number >= 0);
  const isDay = rows.every((row) => row[time] % 86_400_000 === 0);
  const first = { ...columns[time], title: isDay ? "Day" : "Time", isDay };
  if (labels.length === 0) return { columns: columns.map((column, number) => (number === time ? first : column)), rows };
  const measure = columns.findIndex((column) => column.kind === "number" || column.kind === "decimal");
  const names = new Map();
  const times = new Map();
  for (const row of rows) {
    const name = labels.map((number) => row[number]).join(" ");
    if (!names.has(name)) names.set(name, names.size);
    if (!times.has(row[time])) times.set(row[time], []);
    times.get(row[time])[names.get(name)] = row[measure];
  }
  // Names are strangers' words and may be those of columns: columns are numbered.
  const series = [...names].map(([title, number]) => ({ ...columns[measure], name: `series ${number}`, title }));
  return {
    columns: [first, ...series],
    rows: [...times].map(([at, values]) => [at, ...series.map((_, number) => values[number] ?? null)]),
  };
}

/** Returns the rows of an answer as objects. */
export function objects(answer) {
  return answer.rows.map((row) =>
    Object.fromEntries(answer.columns.map((column, number) => [column.name, row[number]])));
}
