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
    unit: column.kind === "text" ? "string" : defaults.unit,
    decimals: defaults.decimals,
    noValue: "",
    title: column.name,
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

/** Returns the rows of an answer as objects. */
export function objects(answer) {
  return answer.rows.map((row) =>
    Object.fromEntries(answer.columns.map((column, number) => [column.name, row[number]])));
}
