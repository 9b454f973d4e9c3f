// Four charts over one time axis: drawn from the store, moved by the clock, read by one cursor.

import uPlot from "/vendor/uPlot.esm.js";
import { clock, figure, phase } from "/format.js";
import { columnKey } from "/live.js";

const HEIGHT_OF = (width) => (width < 520 ? 170 : Math.round(Math.min(260, Math.max(180, (innerHeight - 320) / 2))));
const STEPS_S = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120];
const STALE_US = 1.2e6; // as the pipeline says stale, and what the picture lags behind
const SHRINK_MS = 3000; // a scale follows a peak at once, and its end after a while: else it would breathe

export const TOTAL = "total";
export const CHARTS = [
  { title: "Real power", unit: "kW", quantity: "real_power_w", scale: 1000, digits: 2, total: true, zero: true },
  { title: "Current", unit: "A rms", quantity: "rms_current_a", scale: 1, digits: 1, zero: true, line: "breaker_a" },
  { title: "Voltage", unit: "V rms", quantity: "rms_voltage_v", scale: 1, digits: 1, least: 2, line: "nominal_v" },
  { title: "Power factor", unit: "", quantity: "power_factor", scale: 1, digits: 3, least: 0.02, most: 1.001 },
];

// What a canvas needs of the style sheet, read anew when the theme changes.
let style;
export function restyle() {
  const css = getComputedStyle(document.documentElement);
  const of = (name) => css.getPropertyValue(name).trim();
  style = {
    text: of("--quiet"),
    grid: of("--grid"),
    gap: of("--gap"),
    line: of("--limit"),
    phases: [of("--phase-a"), of("--phase-b"), of("--phase-c"), of("--phase-d")],
    total: of("--total"),
    panel: of("--panel"),
    family: of("--font"),
    font: `11px ${of("--font")}`,
  };
}

export class Chart {
  // `view` is shared by all charts: view.store, view.fromUs, view.toUs, view.channel, view.device; `on.zoom`, `on.cursor`.
  constructor(parent, settings, view, on) {
    this.settings = settings;
    this.view = view;
    this.on = on;
    this.figure = element("figure", "chart");
    const caption = element("figcaption");
    this.name = element("span", "name", settings.title);
    this.legend = element("span", "legend");
    caption.append(this.name, element("span", "unit", settings.unit), this.legend);
    this.place = element("div", "plot");
    this.figure.append(caption, this.place);
    parent.append(this.figure);
    this.range = null;
    this.build([]);
    new ResizeObserver(() => this.resize()).observe(this.place);
  }

  // The series: the phases, and their total where it means something.
  build(streams) {
    this.streams = streams;
    this.phases = this.view.phases;
    const names = this.settings.total ? [...streams, TOTAL] : streams;
    this.series = names.map((stream, index) => {
      const label = stream === TOTAL ? "total" : phase(stream, this.phases);
      const letter = "ABC".indexOf(label);
      const place = Math.min(letter >= 0 ? letter : index, style.phases.length - 1);
      return { stream, label, place, colour: () => (stream === TOTAL ? style.total : style.phases[place]) };
    });
    this.values = this.series.map(({ stream, label, place }) => {
      const item = element("span", "value");
      item.dataset.phase = stream === TOTAL ? "total" : String(place);
      const value = element("b", "", "–");
      item.append(element("i"), element("span", "", label), value);
      return { item, value };
    });
    this.legend.replaceChildren(...this.values.map(({ item }) => item));
    this.plot?.destroy();
    this.plot = new uPlot(this.options(), [[], ...names.map(() => [])], this.place);
  }

  options() {
    const width = this.place.clientWidth || 400;
    const axis = { stroke: () => style.text, grid: { stroke: () => style.grid, width: 1 }, ticks: { show: false }, font: style.font };
    return {
      width,
      height: HEIGHT_OF(width),
      padding: [10, 22, 0, 0],
      legend: { show: false },
      cursor: {
        sync: { key: "cycles", scales: ["x", null] },
        drag: { x: true, y: false, setScale: false },
        y: false,
        points: { show: false },
      },
      scales: { x: { time: false, auto: false }, y: { range: (_, least, greatest) => this.scaled(least, greatest) } },
      axes: [
        { ...axis, size: 26, space: 72, incrs: STEPS_S, values: (_, splits) => splits.map((at, i) => clock(at, splits[1] - splits[0] < 1 ? 2 : 0)) },
        { ...axis, size: 46, space: 28 },
      ],
      series: [
        {},
        ...this.series.map(({ colour, stream }) => ({ stroke: colour, width: stream === TOTAL ? 1.6 : 1.2, points: { show: false } })),
      ],
      hooks: {
        drawClear: [(plot) => this.drawGaps(plot)],
        draw: [(plot) => this.drawLines(plot)],
        setSelect: [(plot) => this.selected(plot)],
        setCursor: [(plot) => this.on.cursor(plot.cursor.left >= 0 ? plot.posToVal(plot.cursor.left, "x") * 1e6 : null)],
      },
    };
  }

  draw() {
    const { store, fromUs, toUs, channel } = this.view;
    const same = store.streams === this.streams || String(store.streams) === String(this.streams);
    if (!same || this.view.phases !== this.phases) this.build(store.streams);
    const { quantity, scale } = this.settings;
    const columns = this.series.map(({ stream }) => store.columns.get(columnKey(stream, channel, quantity)) ?? new Float32Array(store.length).fill(NaN));
    const width = Math.max(50, Math.round(this.plot.bbox.width / devicePixelRatio));
    const data = store.draw(columns, fromUs, toUs, width);
    if (scale !== 1) {
      for (let index = 1; index < data.length; index += 1) {
        const y = data[index];
        for (let at = 0; at < y.length; at += 1) if (y[at] !== null) y[at] /= scale;
      }
    }
    this.plot.batch(() => {
      this.plot.setData(data, false);
      this.plot.setScale("x", { min: fromUs / 1e6, max: toUs / 1e6 });
    });
  }

  // Show the values of a row of the store; -1 shows that there is none.
  read(row) {
    const { store, channel } = this.view;
    this.series.forEach(({ stream }, index) => {
      const column = store.columns.get(columnKey(stream, channel, this.settings.quantity));
      const text = figure(row >= 0 && column ? column[row] : null, this.settings.digits, this.settings.scale);
      const { value } = this.values[index];
      if (value.textContent !== text) value.textContent = text;
    });
  }

  scaled(least, greatest) {
    const { zero, most, least: span = 0 } = this.settings;
    if (least === null || greatest === null) return this.range ? this.range.shown : [0, 1];
    const limit = this.limit();
    let low = zero ? Math.min(0, least) : least;
    let high = zero ? Math.max(0, greatest) : greatest;
    if (limit && zero) high = Math.max(high, limit);
    const short = Math.max(0, span - (high - low));
    const edge = 0.06 * (high - low + short) || 0.5;
    low = zero && low === 0 ? 0 : low - short / 2 - edge;
    high = Math.min(most ?? Infinity, high + short / 2 + edge);
    const now = performance.now();
    const before = this.range;
    if (before && low >= before.shown[0] && high <= before.shown[1]) {
      const close = high - low > 0.7 * (before.shown[1] - before.shown[0]);
      if (close) before.fitsMs = now;
      if (close || now - before.fitsMs < SHRINK_MS) return before.shown;
    } else if (before) {
      low = Math.min(low, before.shown[0]);
      high = Math.max(high, before.shown[1]);
      if (high - low > 1.6 * (greatest - least) && now - before.fitsMs > SHRINK_MS) this.range = null;
    }
    this.range = { shown: [low, high], fitsMs: now };
    return this.range.shown;
  }

  limit() {
    const { line } = this.settings;
    return line ? this.view.device?.[line] : null;
  }

  drawGaps(plot) {
    const { store, fromUs, toUs } = this.view;
    const { left, top, width, height } = plot.bbox;
    const context = plot.ctx;
    context.save();
    context.fillStyle = style.gap;
    const gaps = store.gaps(fromUs, toUs);
    if (toUs - store.newestUs > Math.max(STALE_US, 3 * store.periodUs)) gaps.push([store.newestUs, toUs]); // it goes on as we look
    for (const [from, to] of gaps) {
      const start = Math.max(left, plot.valToPos(from / 1e6, "x", true));
      const end = Math.min(left + width, plot.valToPos(to / 1e6, "x", true));
      if (end > left && start < left + width) context.fillRect(start, top, Math.max(devicePixelRatio, end - start), height);
    }
    context.restore();
  }

  drawLines(plot) {
    const limit = this.limit();
    if (!limit) return;
    const { left, top, width, height } = plot.bbox;
    const y = Math.round(plot.valToPos(limit, "y", true)) + 0.5;
    if (y < top || y > top + height) return;
    const context = plot.ctx;
    context.save();
    const breaker = this.settings.line === "breaker_a";
    context.strokeStyle = context.fillStyle = breaker ? style.line : style.text;
    context.lineWidth = devicePixelRatio;
    context.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
    context.beginPath();
    context.moveTo(left, y);
    context.lineTo(left + width, y);
    context.stroke();
    const px = devicePixelRatio;
    context.font = `${11 * px}px ${style.family}`;
    context.textAlign = "right";
    context.textBaseline = "middle";
    const said = breaker ? `breaker ${figure(limit, 0)} A` : `nominal ${figure(limit, 0)} V`;
    const above = y - top < 16 * px ? 9 * px : -9 * px;
    const wide = context.measureText(said).width;
    context.globalAlpha = 0.8;
    context.fillStyle = style.panel;
    context.fillRect(left + width - wide - 8 * px, y + above - 7 * px, wide + 8 * px, 14 * px);
    context.globalAlpha = 1;
    context.fillStyle = context.strokeStyle;
    context.fillText(said, left + width - 4 * px, y + above);
    context.restore();
  }

  selected(plot) {
    const { left, width } = plot.select;
    if (width > 4) this.on.zoom(plot.posToVal(left, "x") * 1e6, plot.posToVal(left + width, "x") * 1e6);
    if (width) plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  }

  resize() {
    const width = this.place.clientWidth;
    if (width) this.plot.setSize({ width, height: HEIGHT_OF(width) });
    this.on.resized();
  }

  reset() {
    this.range = null;
  }
}

export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}
