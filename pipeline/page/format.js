// Numbers as people read them. Unknown is a dash, never 0.

const cache = new Map();

function formatter(digits) {
  if (!cache.has(digits)) {
    cache.set(digits, new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  }
  return cache.get(digits);
}

export const DASH = "–";

export function known(value) {
  return value !== null && value !== undefined && Number.isFinite(value);
}

export function figure(value, digits, scale = 1) {
  return known(value) ? formatter(digits).format(value / scale).replace("-", "−") : DASH;
}

export function energy(joules) {
  if (!known(joules)) return [DASH, "kWh"];
  const wh = joules / 3600;
  return wh < 1000 ? [figure(wh, wh < 100 ? 1 : 0), "Wh"] : [figure(wh / 1000, wh < 1e5 ? 2 : 1), "kWh"];
}

export function span(seconds) {
  if (!known(seconds)) return DASH;
  if (seconds < 1) return `${figure(seconds * 1000, 0)} ms`;
  if (seconds < 120) return `${figure(seconds, 1)} s`;
  return seconds < 7200 ? `${figure(seconds / 60, 0)} min` : `${figure(seconds / 3600, 1)} h`;
}

export function clock(seconds, digits = 0) {
  const at = new Date(seconds * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const whole = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return digits ? whole + (seconds % 1).toFixed(digits).slice(1) : whole;
}

// A stream that is no phase of its device goes by its own name.
export function phase(stream, phases) {
  return phases[stream] ?? stream;
}
