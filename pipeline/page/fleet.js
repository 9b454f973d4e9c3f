// All devices in a table: sorted, filtered, and only as many rows in the page as can be seen.

import { element } from "/charts.js";
import { set } from "/figures.js";
import { figure, known, span } from "/format.js";

const ROW_PX = 34; // as in the style sheet
const TREND_S = 60;
const SPARE = 6; // rows above and below what is seen
const RANK = { silent: 0, never: 1, stale: 2, live: 3 };
const COLUMNS = [
  ["device", "Device", "text"],
  ["rack", "Rack", "text"],
  ["state", "State", "text"],
  ["real_power_w", "kW", "number"],
  ["trend", "Last minute", "none"],
  ["power_factor", "PF", "number"],
  ["worst_current_a", "Worst phase", "number"],
  ["utilisation", "Load", "number"],
  ["imbalance", "Imbalance", "number"],
  ["rate_hz", "Rate", "number"],
  ["missing", "Missing", "number"],
  ["delay_s", "Delay", "number"],
];
const byId = (id) => document.getElementById(id);

export class FleetView {
  constructor() {
    this.columns = null;
    this.order = [];
    this.trends = new Map();
    this.by = "device";
    this.descending = false;
    this.rows = [];
    byId("fleet").tHead.rows[0].append(...COLUMNS.map((column) => this.head(column)));
    byId("filter").oninput = () => {
      byId("scroller").scrollTop = 0;
      this.arrange();
    };
    byId("scroller").onscroll = () => this.draw();
    new ResizeObserver(() => this.draw()).observe(byId("scroller"));
  }

  told(message) {
    this.columns = message.columns;
    this.keepTrends(message.columns);
    this.summarise();
    this.arrange();
  }

  head([name, title, kind]) {
    const cell = element("th");
    cell.scope = "col";
    cell.className = `${name} ${kind}`;
    if (kind === "none") {
      cell.textContent = title;
      return cell;
    }
    const button = element("button", "", title);
    button.type = "button";
    button.onclick = () => {
      this.descending = this.by === name ? !this.descending : kind === "number";
      this.by = name;
      this.arrange();
    };
    cell.append(button);
    cell.dataset.name = name;
    return cell;
  }

  // The last minute of every device, once; from then on each message brings a second more.
  toldTrend({ devices, power_w: trends }) {
    this.trends = new Map(devices.map((name, row) => [name, trends[row]]));
  }

  keepTrends({ device, real_power_w: power }) {
    device.forEach((name, row) => {
      const trend = this.trends.get(name);
      if (!trend) return;
      trend.push(power[row]);
      if (trend.length > TREND_S) trend.shift();
    });
  }

  summarise() {
    const { state, real_power_w: power, utilisation } = this.columns;
    const count = (wanted) => state.filter((value) => wanted.includes(value)).length;
    const sum = power.filter(known).reduce((total, value) => total + value, 0);
    const list = byId("fleet-figures");
    set(list, "devices", "Devices", figure(state.length, 0), "");
    set(list, "live", "Live", figure(count(["live"]), 0), "");
    const silent = count(["silent", "never"]);
    set(list, "silent", "Silent", figure(silent, 0), "", count(["stale"]) ? `${count(["stale"])} stale` : "", silent ? 3 : -1);
    const of = power.filter(known).length;
    const note = of && of < state.length ? `of ${of} devices` : "";
    set(list, "power", "Real power", of ? figure(sum, 1, 1000) : "–", "kW", note);
    const highest = Math.max(...utilisation.filter(known));
    set(list, "load", "Highest load", figure(highest, 0, 0.01), "%");
  }

  // Sort and filter, then draw. Unknown values come last, whichever way.
  arrange() {
    if (!this.columns) return;
    const word = byId("filter").value.trim().toLowerCase();
    const { device, rack } = this.columns;
    const values = this.by === "state" ? this.columns.state.map((state) => RANK[state]) : this.columns[this.by];
    const sign = this.descending ? -1 : 1;
    const names = new Intl.Collator("en", { numeric: true });
    this.order = device.map((_, row) => row);
    if (word) this.order = this.order.filter((row) => `${device[row]} ${rack[row]}`.toLowerCase().includes(word));
    this.order.sort((one, other) => {
      const [a, b] = [values[one], values[other]];
      if (a === b) return names.compare(device[one], device[other]);
      if (a === null || b === null) return a === null ? 1 : -1;
      return sign * (typeof a === "string" ? names.compare(a, b) : a - b);
    });
    for (const cell of byId("fleet").tHead.rows[0].cells) {
      if (!cell.dataset.name) continue;
      cell.ariaSort = cell.dataset.name === this.by ? (this.descending ? "descending" : "ascending") : "none";
    }
    this.draw();
  }

  draw() {
    if (!this.columns || byId("fleet-view").hidden) return;
    const scroller = byId("scroller");
    const table = byId("fleet");
    const seen = Math.ceil(scroller.clientHeight / ROW_PX) + 2 * SPARE;
    const wanted = Math.floor(scroller.scrollTop / ROW_PX) - SPARE;
    const first = Math.max(0, Math.min(wanted, this.order.length - seen)); // a filter may leave less than was scrolled
    const count = Math.min(this.order.length - first, seen);
    const body = table.tBodies[0];
    if (!this.above) {
      this.above = spacer();
      this.below = spacer();
      body.append(this.above, this.below);
    }
    while (this.rows.length < count) {
      const made = row();
      this.rows.push(made);
      this.below.before(made.line);
    }
    while (this.rows.length > count) this.rows.pop().line.remove();
    this.above.firstChild.style.height = `${first * ROW_PX}px`;
    this.below.firstChild.style.height = `${(this.order.length - first - count) * ROW_PX}px`;
    table.ariaRowCount = String(this.order.length + 1);
    this.rows.forEach((made, index) => this.fill(made, this.order[first + index], first + index));
  }

  fill(made, at, place) {
    const of = (name) => this.columns[name][at];
    const name = of("device");
    made.line.ariaRowIndex = String(place + 2);
    made.line.dataset.state = of("state");
    made.link.href = `#/device/${encodeURIComponent(name)}`;
    made.link.title = name;
    const worst = known(of("worst_current_a")) ? `${of("worst_phase")} ${figure(of("worst_current_a"), 1)} A` : "–";
    const percent = (value) => (known(value) ? `${figure(value, 0, 0.01)} %` : "–");
    const state = of("state") === "live" ? "live" : `${of("state")}${known(of("age_s")) ? ` ${span(of("age_s"))}` : ""}`;
    const texts = {
      device: name,
      rack: of("rack"),
      state,
      real_power_w: figure(of("real_power_w"), 2, 1000),
      power_factor: figure(of("power_factor"), 3),
      worst_current_a: worst,
      utilisation: percent(of("utilisation")),
      imbalance: percent(of("imbalance")),
      rate_hz: figure(of("rate_hz"), 1),
      missing: figure(of("missing"), 0),
      delay_s: span(of("delay_s")),
    };
    for (const [column, text] of Object.entries(texts)) {
      const node = column === "device" ? made.link : made.cells.get(column);
      if (node.textContent !== text) node.textContent = text;
    }
    const used = of("utilisation");
    made.cells.get("utilisation").dataset.level = known(used) ? [0.6, 0.75, 0.85].filter((bound) => used >= bound).length : -1;
    made.cells.get("missing").dataset.level = of("missing") > 0 ? 2 : -1;
    made.spark.setAttribute("d", path(this.trends.get(name) ?? []));
  }
}

function spacer() {
  const line = element("tr", "spacer");
  line.ariaHidden = "true";
  const cell = element("td");
  cell.colSpan = COLUMNS.length;
  line.append(cell);
  return line;
}

function row() {
  const line = element("tr");
  const cells = new Map(COLUMNS.map(([name, , kind]) => [name, element("td", `${name} ${kind}`)]));
  const link = element("a");
  cells.get("device").append(link);
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  picture.setAttribute("viewBox", "0 0 120 24");
  picture.setAttribute("aria-hidden", "true");
  const spark = document.createElementNS("http://www.w3.org/2000/svg", "path");
  picture.append(spark);
  cells.get("trend").append(picture);
  line.append(...cells.values());
  return { line, cells, link, spark };
}

// A line of its own scale, from its least to its greatest; a gap where nothing is known.
function path(trend) {
  const values = trend.filter(known);
  if (!values.length) return "";
  const low = Math.min(...values);
  const high = Math.max(...values);
  const step = 120 / (TREND_S - 1);
  let drawing = "";
  let pen = false;
  trend.forEach((value, index) => {
    if (known(value)) {
      const y = high > low ? 22 - (20 * (value - low)) / (high - low) : 12;
      drawing += `${pen ? "L" : "M"}${((TREND_S - trend.length + index) * step).toFixed(1)} ${y.toFixed(1)}`;
    }
    pen = known(value);
  });
  return drawing;
}
