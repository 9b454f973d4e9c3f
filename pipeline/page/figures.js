// The figures of now, and how good the stream is. Elements are made once and then only their text changes.

import { element } from "/charts.js";
import { DASH, energy, figure, known, phase, span } from "/format.js";

const LOAD = [0.6, 0.75, 0.85]; // of the breaker's rating: the original's colours
const IMBALANCE = [0.05, 0.1, 0.2];

export function card(list, id, title) {
  let place = list.querySelector(`[data-figure="${id}"]`);
  if (!place) {
    place = element("div", "figure");
    place.dataset.figure = id;
    const value = element("dd");
    value.append(element("b"), element("span", "unit"), element("small"));
    place.append(element("dt", "", title), value);
    list.append(place);
  }
  return place;
}

export function set(list, id, title, value, unit, note = "", level = -1) {
  const place = card(list, id, title);
  const [number, its, small] = place.querySelector("dd").children;
  for (const [node, text] of [[number, value], [its, value === DASH ? "" : unit], [small, note]]) {
    if (node.textContent !== text) node.textContent = text;
  }
  place.dataset.level = level;
}

function level(value, bounds) {
  return known(value) ? bounds.filter((bound) => value >= bound).length : -1;
}

export function showFigures(list, said, channel, about) {
  const of = said.channels[channel] ?? said.channels[Object.keys(said.channels)[0]];
  list.dataset.state = said.state;
  set(list, "p", "Real power", figure(of?.total.real_power_w, 2, 1000), "kW");
  set(list, "s", "Apparent", figure(of?.total.apparent_power_va, 2, 1000), "kVA");
  set(list, "q", "Reactive", figure(of?.total.reactive_power_var, 2, 1000), "kvar");
  set(list, "pf", "Power factor", figure(of?.total.power_factor, 3), "");
  const worst = of?.worst;
  const name = worst?.stream ? `phase ${phase(worst.stream, said.phases)}, peak` : "";
  set(list, "worst", "Worst phase", figure(worst?.peak_current_a, 1), "A", name);
  const used = known(worst?.utilisation) ? `${figure(worst.utilisation, 0, 0.01)} % of ${figure(said.breaker_a, 0)} A` : "";
  set(list, "room", "Headroom", figure(worst?.headroom_a, 1), "A", used, level(worst?.utilisation, LOAD));
  set(list, "imbalance", "Imbalance", figure(of?.imbalance, 1, 0.01), "%", "", level(of?.imbalance, IMBALANCE));
  const [amount, unit] = energy(of?.energy.imported_j);
  const notes = [
    of?.energy.exported_j > 0 ? `${energy(of.energy.exported_j).join(" ")} exported` : "",
    of && of.energy.gap_s >= 0.05 ? `${span(of.energy.gap_s)} missing` : "",
  ].filter(Boolean);
  set(list, "energy", "Energy", amount, unit, notes.join(", ") || "since start");
}

export function showQuality(place, said, about, dropped, channels) {
  const lost = said.missing ? `${figure(said.missing, 0)} missing` : "none missing";
  const whole = known(said.completeness) ? `${figure(said.completeness, said.completeness < 1 ? 2 : 0, 0.01)} % complete` : DASH;
  const parts = [
    ["rate", `${figure(said.rate_hz, 1)} cycles/s`, known(said.rate_hz) && said.rate_hz < 0.95 * said.nominal_hz],
    ["complete", whole, known(said.completeness) && said.completeness < 0.99],
    ["missing", lost, said.missing > 0],
    ["delay", `delay ${span(said.delay_s)}`, said.delay_s > 1],
    ["channel a", channels.includes("a") ? "channel a" : "channel a: no data", false],
    ["channel b", channels.includes("b") ? "channel b" : "channel b: no data", false],
    ["rack", [said.rack && `rack ${said.rack}`, said.feed && `feed ${said.feed}`].filter(Boolean).join(", "), false],
  ];
  const { lag_s: lag, error } = about.database;
  if (error) parts.push(["database", `database: ${error}`, true]);
  else if (lag > 5) parts.push(["database", `database ${span(lag)} behind`, true]);
  if (dropped) parts.push(["display", `${dropped} blocks not shown: this browser is too slow`, true]);
  const wanted = parts.filter(([, text]) => text);
  while (place.children.length > wanted.length) place.lastChild.remove();
  wanted.forEach(([name, text, bad], index) => {
    const item = place.children[index] ?? place.appendChild(element("span"));
    item.dataset.name = name;
    item.dataset.bad = String(Boolean(bad));
    if (item.textContent !== text) item.textContent = text;
  });
}
