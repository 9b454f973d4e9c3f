// One device: its charts, moved by the clock, and the ways to look at them.

import { CHARTS, Chart, TOTAL, element } from "/charts.js";
import { save } from "/export.js";
import { showFigures, showQuality } from "/figures.js";
import { clock } from "/format.js";
import { columnKey } from "/live.js";
import { CycleStore } from "/store.js";

const WINDOWS_S = [10, 30, 60, 120, 300];
const DELAY_US = 250e3; // what is drawn is so old: blocks come every 100 ms, and the picture has to move evenly
const DRIFT = 2e-3; // how fast the picture's clock follows a source whose messages take longer than before
// Where the browser has no graphics processor, drawing sixty frames a second takes a core: small machines, which also run
// the pipeline, draw forty, and a slow one rests between two frames for some times what one costs.
const LEAST_MS = navigator.hardwareConcurrency > 2 ? 0 : 25;
const REST = 3;
const READ_MS = 200; // how often the newest values are written: more often nobody can read
const byId = (id) => document.getElementById(id);

export class DeviceView {
  constructor(live, announce) {
    this.live = live;
    this.announce = announce;
    this.about = { streams: [], nominal_hz: 60 };
    this.name = null;
    this.windowUs = 10e6;
    this.held = null; // [fromUs, toUs] while the picture stands still
    this.cursorUs = null;
    this.frames = 0;
    this.dueMs = 0; // when the next frame may be drawn
    this.costMs = 0; // of a frame, lately
    this.view = { store: new CycleStore(60), fromUs: 0, toUs: 1, channel: "a", device: null, phases: {} };
    const on = { zoom: (from, to) => this.hold(from, to), cursor: (at) => this.point(at), resized: () => (this.dirty = true) };
    this.charts = CHARTS.map((settings) => new Chart(byId("charts"), settings, this.view, on));
    this.buildTools();
    requestAnimationFrame(() => this.frame());
  }

  // Look at a device. What is shown of another one goes at once.
  show(name) {
    if (name === this.name) return;
    this.name = name;
    this.view.device = null;
    this.view.channel = "a";
    this.begin();
    showFigures(byId("figures"), { channels: {}, phases: {}, state: "never" }, "a", this.about);
    byId("quality").replaceChildren();
    this.live.wish({ watch: name, window_s: this.windowUs / 1e6 });
  }

  begin() {
    this.view.store = new CycleStore(this.about.nominal_hz);
    this.offsetUs = null;
    this.blocks = 0;
    this.release();
    for (const chart of this.charts) chart.reset();
  }

  connected() {
    this.offsetUs = null;
  }

  block(block) {
    if (block.device !== this.name) return;
    const { store } = this.view;
    for (const channel of block.channels) {
      block.columns.set(columnKey(TOTAL, channel, "real_power_w"), total(block, channel, this.about.streams));
    }
    const newest = store.newestUs;
    store.add(block);
    this.blocks += 1;
    if (store.newestUs !== newest) {
      const offset = store.newestUs - performance.now() * 1e3;
      this.arrivedMs = performance.now();
      if (this.offsetUs === null || Math.abs(offset - this.offsetUs) > 2e6) this.offsetUs = offset;
      this.offsetUs = Math.max(offset, this.offsetUs - DRIFT * 100e3);
    }
    if (!store.channels.includes(this.view.channel)) this.view.channel = store.channels[0] ?? "a";
    this.showChannels();
    this.dirty = true;
  }

  // New figures: `said` is null where the pipeline does not know the device.
  told(about, said, dropped) {
    this.about = about;
    if (!said || said.device !== this.name) return;
    this.view.store.periodUs = 1e6 / said.nominal_hz;
    this.view.store.arrivals = said.state === "live" && said.delay_s === null;
    this.view.device = said;
    if (JSON.stringify(said.phases) !== JSON.stringify(this.view.phases)) this.view.phases = said.phases;
    showFigures(byId("figures"), said, this.view.channel, about);
    showQuality(byId("quality"), said, about, dropped, this.view.store.channels);
  }

  get live_() {
    return this.held === null;
  }

  edge() {
    return this.offsetUs === null ? Date.now() * 1e3 : performance.now() * 1e3 + this.offsetUs - DELAY_US;
  }

  frame() {
    requestAnimationFrame(() => this.frame());
    if (document.hidden || byId("device-view").hidden) return;
    const { view } = this;
    if (this.live_) {
      const to = this.edge();
      const step = this.windowUs / Math.max(100, byId("charts").clientWidth / 2);
      if (!this.dirty && Math.abs(to - view.toUs) < step / 2) return;
      view.toUs = to;
      view.fromUs = to - this.windowUs;
    } else {
      if (!this.dirty) return;
      [view.fromUs, view.toUs] = this.held;
    }
    const began = performance.now();
    const pause = Math.max(LEAST_MS, Math.min(30, REST * this.costMs));
    if (began < this.dueMs) return;
    this.dueMs = Math.max(began, this.dueMs + pause);
    this.dirty = false;
    for (const chart of this.charts) chart.draw();
    queueMicrotask(() => (this.costMs = 0.9 * this.costMs + 0.1 * (performance.now() - began))); // uPlot draws in one
    this.frames += 1;
    if (performance.now() - (this.readMs ?? 0) > READ_MS) this.read();
  }

  read() {
    this.readMs = performance.now();
    const { store } = this.view;
    const row = this.cursorUs === null ? store.first(this.view.toUs) - 1 : store.nearest(this.cursorUs);
    for (const chart of this.charts) chart.read(row);
    const there = this.cursorUs !== null && row >= 0;
    const number = there && store.sequence[row] === store.sequence[row] ? ` · cycle ${store.sequence[row]}` : "";
    byId("cursor").textContent = there ? `${clock(store.time[row] / 1e6, 3)}${number}` : "";
  }

  point(atUs) {
    if (atUs === this.cursorUs) return;
    this.cursorUs = atUs;
    this.read();
  }

  hold(fromUs, toUs) {
    const least = 5 * this.view.store.periodUs;
    if (toUs - fromUs < least) toUs = fromUs + least;
    this.held = [fromUs, toUs];
    this.view.store.keepFromUs = fromUs - 60e6;
    this.dirty = true;
    this.showHeld();
  }

  release() {
    this.held = null;
    this.view.store.keepFromUs = Infinity;
    this.dirty = true;
    this.showHeld();
  }

  pause() {
    if (this.live_) this.hold(this.view.fromUs, this.view.toUs);
    else this.release();
    this.announce(this.live_ ? "Charts are live" : "Charts are paused");
  }

  showHeld() {
    byId("pause").setAttribute("aria-pressed", String(!this.live_));
    byId("pause").textContent = this.live_ ? "Pause" : "Paused";
    byId("back").hidden = this.live_;
  }

  setWindow(seconds) {
    const wider = seconds * 1e6 > this.windowUs;
    this.windowUs = seconds * 1e6;
    this.release();
    if (wider && this.name !== null) this.live.wish({ watch: this.name, window_s: seconds });
    else this.live.wishes.set("window_s", seconds);
  }

  buildTools() {
    choice(byId("windows"), WINDOWS_S.map((s) => [String(s), s < 60 ? `${s} s` : `${s / 60} min`]), "10", (s) => this.setWindow(Number(s)));
    byId("pause").onclick = () => this.pause();
    byId("back").onclick = () => this.release();
    byId("export").onclick = () => save(this.name, this.view, this.about);
    byId("charts").ondblclick = () => this.release();
    document.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    if (byId("device-view").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    const chosen = event.target.type === "radio" && !event.key.startsWith("Arrow"); // those choose another one
    if (["INPUT", "SELECT", "BUTTON", "A"].includes(event.target.tagName) && event.key !== "Escape" && !chosen) return;
    const { fromUs, toUs } = this.view;
    const span = toUs - fromUs;
    const act = {
      " ": () => this.pause(),
      Escape: () => this.release(),
      "+": () => this.hold(fromUs + span / 4, toUs - span / 4),
      "=": () => this.hold(fromUs + span / 4, toUs - span / 4),
      "-": () => this.hold(fromUs - span / 2, toUs + span / 2),
      ArrowLeft: () => this.hold(fromUs - span / 8, toUs - span / 8),
      ArrowRight: () => this.hold(fromUs + span / 8, toUs + span / 8),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  showChannels() {
    const { channels } = this.view.store;
    const place = byId("channels");
    if (place.dataset.shown === `${channels}:${this.view.channel}`) return;
    place.dataset.shown = `${channels}:${this.view.channel}`;
    place.hidden = channels.length < 2;
    choice(place, channels.map((c) => [c, `Channel ${c}`]), this.view.channel, (c) => {
      this.view.channel = c;
      for (const chart of this.charts) chart.reset();
      this.dirty = true;
    });
  }
}

// The sum of the configured streams of each cycle; unknown unless every one is known.
function total(block, channel, streams) {
  const sum = new Float32Array(block.time.length);
  for (const stream of streams) {
    const column = block.columns.get(columnKey(stream, channel, "real_power_w"));
    for (let row = 0; row < sum.length; row += 1) sum[row] += column ? column[row] : NaN;
  }
  return sum;
}

// A row of radio buttons that looks like one control.
function choice(place, options, chosen, on) {
  place.replaceChildren(
    ...options.map(([value, text]) => {
      const label = element("label");
      const input = element("input");
      Object.assign(input, { type: "radio", name: place.id, value, checked: value === chosen });
      input.onchange = () => on(value);
      label.append(input, element("span", "", text));
      return label;
    }),
  );
}
