// What Grafana shows for panels and their figures: JSON lines in, JSON lines out, by @grafana/data.
// In:  {panel, columns: [{name, type}], rows}
// Out: {names: [title of each column], cells: [row of {text, color, href}], hidden: [names]}

// The library looks at the browser when it is loaded; Node has none.
Object.defineProperty(globalThis, "navigator", { value: { userAgent: "node", language: "en-US", languages: ["en-US"] }, configurable: true });

const {
  applyFieldOverrides, createTheme, FieldConfigOptionsRegistry, formattedValueToString, getFieldDisplayName, toDataFrame,
} = require("@grafana/data");

// What the panels' own code registers in Grafana, as far as the dashboards use it.
const PROPERTIES = [
  "displayName", "unit", "decimals", "noValue", "min", "max", "color", "thresholds", "mappings", "links",
  "custom.hidden", "custom.hideFrom", "custom.cellOptions", "custom.width",
];
const registry = new FieldConfigOptionsRegistry(() => PROPERTIES.map((id) => ({
  id, name: id, path: id.replace(/^custom\./, ""), isCustom: id.startsWith("custom."),
  editor: null, override: null, process: (value) => value, shouldApply: () => true,
})));

function replaceVariables(text, scoped = {}) {
  return text
    .replace(/\$\{__field\.labels\.(\w+)\}/g, (_, label) => scoped.__field?.value?.labels?.[label] ?? "")
    .replace(/\$\{__data\.fields\.(\w+)\}/g, (_, name) => {
      const { frame, rowIndex } = scoped.__dataContext.value;
      return encodeURIComponent(frame.fields.find((field) => field.name === name).values[rowIndex]);
    })
    .replace("${__url_time_range}", "from=now-30d&to=now");
}

function shown({ panel, columns, rows }) {
  const fields = columns.map(({ name, type }, place) => ({ name, type, config: {}, values: rows.map((row) => row[place]) }));
  const [frame] = applyFieldOverrides({
    data: [toDataFrame({ refId: "A", fields })],
    fieldConfig: panel.fieldConfig,
    fieldConfigRegistry: registry,
    replaceVariables,
    theme: createTheme(),
    timeZone: "utc",
  });
  return {
    names: frame.fields.map((field) => getFieldDisplayName(field, frame)),
    hidden: frame.fields.filter((field) => field.config.custom?.hidden).map((field) => field.name),
    cells: rows.map((_, number) => frame.fields.map((field) => {
      const value = field.display(field.values[number]);
      return {
        text: formattedValueToString(value),
        color: value.color,
        href: field.getLinks?.({ valueRowIndex: number })[0]?.href,
      };
    })),
  };
}

const lines = require("node:fs").readFileSync(0, "utf8").trim().split("\n");
process.stdout.write(lines.map((line) => JSON.stringify(shown(JSON.parse(line)))).join("\n") + "\n");
