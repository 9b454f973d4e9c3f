// The page: which view, which device, what the connection says.

import { restyle } from "/charts.js";
import { DeviceView } from "/device.js";
import { FleetView } from "/fleet.js";
import { span } from "/format.js";
import { Live, authorization } from "/live.js";

const STALE_MS = 1000; // sixty cycles, as the pipeline has it; of a slow replay three
const SILENT_MS = 5000;
const byId = (id) => document.getElementById(id);

let about = null;
let names = [];
let connected = false;
let said = "";

function announce(text) {
  byId("announce").textContent = text;
}

restyle();
const live = new Live({ block: onBlock, text: onText, state: onState, login: onLogin });
const device = new DeviceView(live, announce);
const fleet = new FleetView();
globalThis.karman = { device, fleet, live }; // for tests, and for whoever is curious

function onBlock(block) {
  device.block(block);
}

function onText(kind, message) {
  if (kind === "now") {
    about = message;
    device.told(message, message.device, message.dropped);
    showAbout();
  } else if (kind === "names") {
    names = message.names;
    showNames();
    route();
  } else if (kind === "fleet") {
    fleet.told(message);
  } else if (kind === "trend") {
    fleet.toldTrend(message);
  } else if (kind === "notice") {
    notice(message.text);
  }
}

function onState(is) {
  connected = is;
  if (is) {
    byId("login").hidden = true;
    device.connected();
    route();
  }
  showState();
}

function onLogin(wrong) {
  byId("login").hidden = false;
  byId("device-view").hidden = byId("fleet-view").hidden = true;
  byId("wrong").textContent = wrong ? "This token is not accepted." : "";
  byId("token").focus();
}

function notice(text) {
  const place = byId("notice");
  place.textContent = text;
  place.hidden = false;
  clearTimeout(notice.timer);
  notice.timer = setTimeout(() => (place.hidden = true), 8000);
}

// #/device, #/device/NAME, #/fleet
function route() {
  const [, view = "device", name = ""] = location.hash.split("/");
  const toFleet = view === "fleet";
  byId("login").hidden = true;
  byId("fleet-view").hidden = !toFleet;
  byId("device-view").hidden = toFleet;
  byId("to-fleet").ariaCurrent = toFleet ? "page" : null;
  byId("to-device").ariaCurrent = toFleet ? null : "page";
  if (toFleet) {
    document.title = "Fleet · Karman";
    device.name = null;
    live.wish({ fleet: true, watch: null });
    fleet.draw();
    return;
  }
  live.wish({ fleet: false });
  const wanted = decode(name);
  const chosen = names.includes(wanted) ? wanted : names.includes(byId("device").value) ? byId("device").value : names[0];
  if (wanted && names.length && chosen !== wanted) notice(`There is no device ${wanted}.`);
  if (chosen === undefined) return;
  byId("device").value = chosen;
  document.title = `${chosen} · Karman`;
  device.show(chosen);
}

function decode(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

function showNames() {
  const select = byId("device");
  const before = select.value;
  select.replaceChildren(...names.map((name) => new Option(name, name)));
  if (names.includes(before)) select.value = before;
}

function showAbout() {
  const { replay, grafana_url: grafana } = about;
  byId("simulated").hidden = !replay;
  if (replay) {
    byId("simulated").querySelector("strong").textContent = replay.simulated ? "Simulated" : "Recording";
    const select = byId("scenario");
    const known = [...new Set([...replay.scenarios, replay.recording])];
    if (select.dataset.shown !== String(known)) {
      select.dataset.shown = String(known);
      select.replaceChildren(...known.map((name) => new Option(name, name)));
    }
    if (document.activeElement !== select || !select.dataset.pending) select.value = replay.recording;
  }
  const link = byId("grafana");
  link.hidden = !/^https?:\/\//.test(grafana ?? "");
  if (!link.hidden) link.href = grafana;
}

async function switchTo(recording) {
  const select = byId("scenario");
  select.dataset.pending = "yes";
  try {
    const answer = await fetch("/api/v1/replay", {
      method: "POST",
      headers: { "Content-Type": "application/json", ...authorization() },
      body: JSON.stringify({ recording }),
    });
    if (answer.ok) announce(`Now playing ${recording}`);
    else notice(await answer.text());
  } catch (error) {
    notice(`The scenario was not switched: ${error.message}`);
  }
  delete select.dataset.pending;
}

// Said in words once when it changes; the seconds tick silently.
function showState() {
  let state = "live";
  let text = "live";
  const onDevice = !byId("device-view").hidden;
  const told = onDevice ? device.view.device : null;
  const quiet = told && told.state !== "live" && told.state !== "never"; // what it sent before may only just have come
  const heardMs = performance.now() - (device.arrivedMs ?? performance.now());
  const ageMs = Math.max(heardMs, quiet ? told.age_s * 1000 : 0);
  if (!connected) [state, text] = ["lost", "not connected"];
  else if (onDevice && !device.blocks && !quiet) [state, text] = ["connecting", "waiting for cycles"];
  else if (onDevice && ageMs > SILENT_MS) [state, text] = ["silent", `silent for ${span(ageMs / 1000)}`];
  else if (onDevice && ageMs > Math.max(STALE_MS, 3000 / (device.view.device?.nominal_hz ?? device.about.nominal_hz))) [state, text] = ["stale", `stale for ${span(ageMs / 1000)}`];
  byId("state").dataset.state = state;
  byId("state-text").textContent = text;
  document.body.dataset.state = state;
  if (said !== state) {
    said = state;
    announce({ live: "Live", lost: "The pipeline is not reachable; trying again", silent: "The device is silent", stale: "No cycles any more" }[state] ?? text);
  }
}
setInterval(showState, 250);

byId("device").onchange = () => (location.hash = `#/device/${encodeURIComponent(byId("device").value)}`);
byId("scenario").onchange = () => switchTo(byId("scenario").value);
byId("theme").onclick = () => {
  const dark = document.documentElement.dataset.theme !== "dark";
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  localStorage.setItem("karman-theme", dark ? "dark" : "light");
  restyle();
  for (const chart of device.charts) chart.build(chart.streams);
  device.read();
  device.dirty = true;
};
byId("login").onsubmit = (event) => {
  event.preventDefault();
  live.enter(byId("token").value.trim());
};
addEventListener("hashchange", route);
document.querySelector(".skip").onclick = (event) => {
  event.preventDefault(); // its place in the page is none of the views
  byId("content").focus();
};
