// What is on screen as CSV: every cycle between the edges of the charts, in SI units, with the time to the microsecond.

// A cell that a spreadsheet would run as a formula is shown as text; names come from outside.
function cell(text) {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function instant(us) {
  const whole = Math.floor(us / 1e6);
  return `${new Date(whole * 1000).toISOString().slice(0, 19)}.${String(Math.round(us - whole * 1e6)).padStart(6, "0")}Z`;
}

export function csv(device, view, about) {
  const { store } = view;
  const source = about.replay ? `${about.replay.simulated ? "simulated" : "recording"} ${about.replay.recording}` : "device";
  const keys = [...store.columns.keys()];
  const lines = [["time", "device", "source", "sequence", ...keys.map((key) => key.split("\n").join(" "))].map(cell).join(",")];
  for (let row = store.first(view.fromUs); row < store.length && store.time[row] <= view.toUs; row += 1) {
    const values = keys.map((key) => {
      const value = store.columns.get(key)[row];
      return value === value ? String(Number(value.toPrecision(8))) : "";
    });
    const sequence = store.sequence[row] === store.sequence[row] ? String(store.sequence[row]) : "";
    lines.push([instant(store.time[row]), cell(device), cell(source), sequence, ...values].join(","));
  }
  return `${lines.join("\r\n")}\r\n`;
}

export function save(device, view, about) {
  const said = about.replay?.simulated ? "-simulated" : "";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv(device, view, about)], { type: "text/csv" }));
  link.download = `${device}${said}-${instant(view.fromUs).slice(0, 19)}.csv`.replaceAll(/[^\w.-]+/g, "-");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
