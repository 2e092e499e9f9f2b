// Figures over time: stacked bars or lines, by uPlot.

/* global uPlot */
import { colour, make } from "./dom.js";
import { empty } from "./draw_figures.js";
import { fieldsOf, objects } from "./fields.js";
import { moment, show } from "./format.js";
import { coloursOf } from "./palette.js";

const DAY = 86_400;
const HOUR = 3_600;

/** Draws a time series panel; returns a function that takes it away again. */
export function drawTime(body, panel, answer, place, hiddenNames) {
  const { zone, range } = place;
  if (answer.rows.length === 0) {
    empty(body, panel, place);
    return () => {};
  }
  const { times, series, field } = seriesOf(panel, answer);
  const isStacked = panel.fieldConfig.defaults.custom?.stacking?.mode === "normal";
  const isBars = panel.fieldConfig.defaults.custom?.drawStyle === "bars";
  const colours = coloursOf(series.map((each) => each.name));
  const step = stepOf(times);
  const picture = make("div", { class: "picture", role: "img", "aria-label": `${panel.title}: ${describe(series, field, zone)}` });
  const legend = make("ul", { class: "legend" });
  const tooltip = make("div", { class: "tooltip", hidden: true });
  body.replaceChildren(picture, legend, tooltip);

  let plot;
  const draw = () => {
    plot?.destroy();
    const visible = series.filter((each) => !hiddenNames.has(each.name));
    plot = plotOf({ picture, tooltip, times, visible, colours, field, zone, range, step, isStacked, isBars });
    legend.replaceChildren(...series.map((each) => entry(each, { colours, field, zone, isStacked }, hiddenNames, draw)));
  };
  draw();
  const watcher = new ResizeObserver(() => {
    const size = { width: picture.clientWidth, height: picture.clientHeight };
    if (size.width > 0 && (size.width !== plot.width || size.height !== plot.height)) draw();
  });
  watcher.observe(picture);
  return () => {
    watcher.disconnect();
    plot.destroy();
  };
}

/** Returns the times (seconds) and a series a text of the label column, or a numeric column. */
function seriesOf(panel, answer) {
  const fields = [...fieldsOf(panel, answer.columns).values()];
  const time = fields.find((field) => field.kind === "time");
  const labels = fields.filter((field) => field.kind === "text");
  const measures = fields.filter((field) => field.kind === "number" || field.kind === "decimal");
  const rows = objects(answer);
  const times = [...new Set(rows.map((row) => row[time.name] / 1000))].sort((a, b) => a - b);
  const places = new Map(times.map((at, number) => [at, number]));
  const found = new Map();
  for (const row of rows) {
    for (const measure of measures) {
      const name = labels.length > 0 ? labels.map((label) => row[label.name]).join(" ") : measure.title;
      if (!found.has(name)) found.set(name, { name, values: new Array(times.length).fill(null), total: 0 });
      const value = row[measure.name] === null ? null : Number(row[measure.name]);
      found.get(name).values[places.get(row[time.name] / 1000)] = value;
      found.get(name).total += value ?? 0;
    }
  }
  // What is no name comes last, however much it is.
  const isRest = (each) => Number(each.name.startsWith("("));
  const series = [...found.values()].sort((a, b) => isRest(a) - isRest(b) || b.total - a.total);
  return { times, series, field: measures[0] };
}

function stepOf(times) {
  const gaps = times.slice(1).map((at, number) => at - times[number]);
  const least = gaps.length > 0 ? Math.min(...gaps) : times[0] % DAY === 0 ? DAY : HOUR;
  return least >= DAY - HOUR ? DAY : HOUR; // the day on which clocks go forward has 23 hours
}

function plotOf({ picture, tooltip, times, visible, colours, field, zone, range, step, isStacked, isBars }) {
  const zeroes = () => new Array(times.length).fill(0);
  const drawn = [];
  let below = zeroes();
  for (const each of visible) {
    const values = isStacked ? each.values.map((value, number) => below[number] + (value ?? 0)) : each.values;
    if (isStacked) below = values;
    drawn.push({ name: each.name, values });
  }
  if (isStacked) drawn.reverse(); // the tallest is drawn first, so that each shows its own part
  const width = picture.clientWidth;
  const first = Math.min(range[0], times[0]);
  const last = Math.max(range[1], times.at(-1) + step);
  const barWidth = Math.max(1, (0.8 * width * step) / (last - first));
  const grid = { stroke: colour("line"), width: 1 };
  const axis = { stroke: colour("muted"), grid, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  return new uPlot({
    width,
    height: picture.clientHeight,
    padding: [8, 22, 0, 0],
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), zone),
    legend: { show: false },
    cursor: { y: false, points: { show: !isBars }, drag: { x: false, y: false } },
    scales: {
      x: { time: true, range: [first, last] },
      y: { range: (_, least, most) => [Math.min(0, least ?? 0), (most || 1) * 1.05] },
    },
    axes: [
      { ...axis, grid: { show: false } },
      {
        ...axis,
        size: (_, texts) => 16 + 7 * Math.max(3, ...(texts ?? []).map((text) => text.length)),
        values: (_, ticks) => ticks.map((tick) => tickText(tick, ticks, field, zone)),
      },
    ],
    series: [{}, ...drawn.map(({ name }) => ({
      label: name,
      stroke: colours.get(name),
      width: isBars ? 0 : 2,
      fill: isBars ? colours.get(name) : undefined,
      points: { show: !isBars && times.length < 40 },
      paths: isBars ? uPlot.paths.bars({ size: [0.9, barWidth], align: 1, radius: 0 }) : uPlot.paths.linear(),
    }))],
    hooks: { setCursor: [(plot) => hover(plot, { tooltip, picture, times, visible, colours, field, zone, step, isBars, isStacked })] },
  }, [times, ...drawn.map((each) => each.values)], picture);
}

function tickText(tick, ticks, field, zone) {
  const gap = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : 1;
  if (field.unit !== "currency:financial:$") return show(tick, { ...field, decimals: gap < 1 ? 2 : 0 }, zone);
  if (gap >= 1000) return `$${show(tick, { unit: "short" })}`;
  return show(tick, { ...field, decimals: gap >= 1 ? 0 : Math.min(6, Math.ceil(-Math.log10(gap))) }, zone);
}

function hover(plot, { tooltip, picture, times, visible, colours, field, zone, step, isBars, isStacked }) {
  let number = plot.cursor.idx;
  if (number === null || number === undefined || plot.cursor.left < 0) {
    tooltip.hidden = true;
    return;
  }
  if (isBars) {
    // A bar stands right of its time: the one under the pointer began before it.
    const at = plot.posToVal(plot.cursor.left, "x");
    number = times.findLastIndex((time) => time <= at);
    if (number < 0 || at > times[number] + step) {
      tooltip.hidden = true;
      return;
    }
  }
  const shown = visible.map((each) => ({ name: each.name, value: each.values[number] }))
    .filter((each) => each.value !== null).sort((a, b) => b.value - a.value);
  const rows = shown.map(({ name, value }) => make("tr", {},
    make("td", {}, swatch(colours.get(name)), document.createTextNode(name)),
    make("td", { class: "number", text: show(value, field, zone) })));
  if (isStacked && shown.length > 1) {
    const total = shown.reduce((sum, each) => sum + each.value, 0);
    rows.push(make("tr", { class: "total" }, make("td", { text: "Total" }), make("td", { class: "number", text: show(total, field, zone) })));
  }
  const title = moment(times[number] * 1000, zone, { isDay: step >= DAY });
  tooltip.replaceChildren(make("p", { text: step >= DAY ? title : title.slice(0, 16) }), make("table", {}, make("tbody", {}, ...rows)));
  tooltip.hidden = false;
  const space = picture.getBoundingClientRect();
  const left = plot.bbox.left / devicePixelRatio + plot.cursor.left;
  const isRight = left > space.width / 2;
  tooltip.style.insetInlineStart = isRight ? "auto" : `${left + 18}px`;
  tooltip.style.insetInlineEnd = isRight ? `${space.width - left + 18}px` : "auto";
}

function entry(each, { colours, field, zone, isStacked }, hiddenNames, draw) {
  const isHidden = hiddenNames.has(each.name);
  // Bars add up to something; of a line the last point is what there is to say.
  const said = isStacked ? `${show(each.total, field, zone)} in the range`
    : `last ${show(each.values.findLast((value) => value !== null) ?? null, field, zone)}`;
  const toggle = () => {
    if (isHidden) hiddenNames.delete(each.name);
    else hiddenNames.add(each.name);
    draw();
  };
  return make("li", {}, make("button", {
    type: "button", onclick: toggle, "aria-pressed": String(!isHidden),
    title: `${each.name}: ${said}`,
  }, swatch(colours.get(each.name)), make("span", { text: each.name })));
}

function swatch(background) {
  const element = make("span", { class: "swatch", "aria-hidden": "true" });
  element.style.backgroundColor = background;
  return element;
}

function describe(series, field, zone) {
  return series.slice(0, 10).map((each) => `${each.name} ${show(each.total, field, zone)}`).join(", ");
}
