// The connection to the pipeline: one WebSocket, texts of JSON and blocks of cycles. docs/live-page.md describes it.

const PROTOCOL = "karman.v1";
const TOKEN = "karman-token";
const LONGEST_WAIT_MS = 5000;

export function decode(buffer) {
  const view = new DataView(buffer);
  if (view.getUint32(0, false) !== 0x4b524d31) throw new Error("not a block of cycles");
  const length = view.getUint32(4, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const rows = header.rows;
  let offset = 8 + length;
  const time = new Float64Array(buffer, offset, rows);
  const sequence = new Float64Array(buffer, (offset += 8 * rows), rows);
  offset += 8 * rows;
  const columns = new Map();
  for (const stream of header.streams) {
    for (const channel of header.channels) {
      for (const quantity of header.quantities) {
        columns.set(columnKey(stream, channel, quantity), new Float32Array(buffer, offset, rows));
        offset += 4 * rows;
      }
    }
  }
  return { device: header.device, live: Boolean(header.live), streams: header.streams, channels: header.channels, time, sequence, columns };
}

export function columnKey(stream, channel, quantity) {
  return `${stream}\n${channel}\n${quantity}`;
}

export function token() {
  return sessionStorage.getItem(TOKEN);
}

export function authorization() {
  return token() ? { Authorization: `Bearer ${token()}` } : {};
}

function base64url(text) {
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

export class Live {
  // `on` holds what is called: block(block), text(kind, message), state(connected), login(wrong).
  constructor(on) {
    this.on = on;
    this.wishes = new Map(); // sent again after a reconnection
    this.waitMs = 250;
    this.connect();
  }

  wish(wish) {
    for (const name of Object.keys(wish)) this.wishes.set(name, wish[name]);
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(wish));
  }

  enter(word) {
    sessionStorage.setItem(TOKEN, word);
    this.waitMs = 250;
    this.connect();
  }

  connect() {
    const protocols = [PROTOCOL, ...(token() ? [`bearer.${base64url(token())}`] : [])];
    const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/api/v1/live`, protocols);
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.waitMs = 250;
      this.on.state(true);
      if (this.wishes.size) socket.send(JSON.stringify(Object.fromEntries(this.wishes)));
    };
    socket.onmessage = (event) => {
      if (typeof event.data === "string") {
        const message = JSON.parse(event.data);
        this.on.text(message.kind, message);
      } else {
        this.on.block(decode(event.data));
      }
    };
    socket.onclose = async () => {
      this.on.state(false);
      if (!opened && (await refused())) {
        this.on.login(Boolean(token()));
        return; // goes on with `enter`
      }
      setTimeout(() => this.connect(), this.waitMs);
      this.waitMs = Math.min(2 * this.waitMs, LONGEST_WAIT_MS);
    };
  }
}

// A browser does not say why a WebSocket was refused: ask the same server in another way.
async function refused() {
  try {
    return (await fetch("/api/v1/devices", { headers: authorization() })).status === 401;
  } catch {
    return false;
  }
}
