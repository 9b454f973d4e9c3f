// The cycles of one device, in the order of time, as columns; and what is drawn of them.
//
// A block may come late or overlap what is known (the first picture, then the database's): it is merged by time.

export const KEPT_US = 305e6; // the widest window and a little
const LONGEST_US = 1200e6; // while the picture stands still: then the oldest go all the same
const SET_BACK_US = 10e6; // further behind than any that come late: the device's clock was set back
const LONGEST_STEP_US = 1e6; // two cycles further apart are no neighbours, whatever their numbers say
const LATE_US = 250e3; // times of arrival are found so much later at most

export class CycleStore {
  constructor(nominalHz) {
    this.periodUs = 1e6 / nominalHz;
    this.arrivals = false; // whether times are those of arrival, for the device tells none
    this.keepFromUs = Infinity; // what is looked at while the picture stands still
    this.length = 0;
    this.time = new Float64Array(4096);
    this.sequence = new Float64Array(4096);
    this.columns = new Map();
    this.channels = [];
    this.streams = [];
    this.added = 0; // counts changes
  }

  get newestUs() {
    return this.length ? this.time[this.length - 1] : NaN;
  }

  add(block) {
    const rows = block.time.length;
    if (!rows) return;
    this.streams = block.streams;
    for (const channel of block.channels) if (!this.channels.includes(channel)) this.channels.push(channel);
    this.channels.sort();
    for (const key of block.columns.keys()) {
      if (!this.columns.has(key)) this.columns.set(key, new Float32Array(this.time.length).fill(NaN));
    }
    if (block.live && block.time[rows - 1] < this.newestUs - SET_BACK_US) this.length = this.first(block.time[0]);
    this.reserve(this.length + rows);
    if (!this.length || block.time[0] > this.newestUs) this.append(block);
    else this.merge(block);
    this.added += 1;
    this.trim();
  }

  append({ time, sequence, columns }) {
    this.time.set(time, this.length);
    this.sequence.set(sequence, this.length);
    for (const [key, column] of this.columns) {
      if (columns.has(key)) column.set(columns.get(key), this.length);
      else column.fill(NaN, this.length, this.length + time.length);
    }
    this.length += time.length;
  }

  merge(block) {
    // From the back, so that it can be done in place; of equal times the block's row counts.
    const from = []; // for each row of the result: the row of the store, or ~row of the block
    let mine = 0;
    let its = 0;
    while (mine < this.length || its < block.time.length) {
      const a = mine < this.length ? this.time[mine] : Infinity;
      const b = its < block.time.length ? block.time[its] : Infinity;
      if (b <= a) {
        from.push(~its);
        its += 1;
        if (a === b) mine += 1;
      } else {
        from.push(mine);
        mine += 1;
      }
    }
    const arrange = (column, added) => {
      const before = column.slice(0, this.length);
      for (let row = 0; row < from.length; row += 1) {
        column[row] = from[row] >= 0 ? before[from[row]] : added ? added[~from[row]] : NaN;
      }
    };
    for (const [key, column] of this.columns) arrange(column, block.columns.get(key));
    arrange(this.sequence, block.sequence);
    arrange(this.time, block.time);
    this.length = from.length;
  }

  reserve(length) {
    if (length <= this.time.length) return;
    const grown = (column) => {
      const larger = new column.constructor(2 * length).fill(NaN);
      larger.set(column);
      return larger;
    };
    this.time = grown(this.time);
    this.sequence = grown(this.sequence);
    for (const [key, column] of this.columns) this.columns.set(key, grown(column));
  }

  trim() {
    const standing = Math.min(this.newestUs - KEPT_US, this.keepFromUs);
    const gone = this.first(Math.max(standing, this.newestUs - LONGEST_US));
    if (gone < 1024 && gone < this.length / 4) return; // moving costs: not for a few rows
    for (const column of [this.time, this.sequence, ...this.columns.values()]) column.copyWithin(0, gone, this.length);
    this.length -= gone;
  }

  // The first row at or after a time.
  first(timeUs) {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.time[middle] < timeUs) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  nearest(timeUs) {
    const row = this.first(timeUs);
    if (row === 0) return this.length ? 0 : -1;
    return row < this.length && this.time[row] - timeUs < timeUs - this.time[row - 1] ? row : row - 1;
  }

  // Whether something is missing between a row and the one before it: by the device's own numbers, else by time.
  broken(row) {
    const step = this.time[row] - this.time[row - 1];
    const numbers = this.sequence[row] - this.sequence[row - 1];
    if (numbers > 0) return numbers > 1 || step > Math.max(LONGEST_STEP_US, 3 * this.periodUs);
    return step > Math.max(this.arrivals ? LATE_US : 0, 1.5 * this.periodUs);
  }

  gaps(fromUs, toUs) {
    const found = [];
    const last = this.first(toUs);
    for (let row = Math.max(1, this.first(fromUs)); row <= Math.min(last, this.length - 1); row += 1) {
      if (this.broken(row)) found.push([this.time[row - 1], this.time[row]]);
    }
    return found;
  }

  // What is drawn between two times on `width` pixels: [x, y, y ...], x in seconds; null is drawn as a gap.
  // Where there are more cycles than pixels, each pixel gets the least and the greatest, in the order in which they
  // came: no spike is lost. Pixels are cut at multiples of their width, so that nothing flickers as time goes on.
  draw(columns, fromUs, toUs, width) {
    const first = Math.max(0, this.first(fromUs) - 1);
    const last = Math.min(this.length, this.first(toUs) + 1);
    return last - first > 2 * width
      ? this.envelope(columns, first, last, (toUs - fromUs) / width)
      : this.lines(columns, first, last);
  }

  lines(columns, first, last) {
    const x = [];
    const ys = columns.map(() => []);
    for (let row = first; row < last; row += 1) {
      if (row > first && this.broken(row)) {
        x.push((this.time[row - 1] + this.time[row]) / 2e6);
        for (const y of ys) y.push(null);
      }
      x.push(this.time[row] / 1e6);
      for (let index = 0; index < columns.length; index += 1) {
        const value = columns[index][row];
        ys[index].push(Number.isFinite(value) ? value : null);
      }
    }
    return [x, ...ys];
  }

  envelope(columns, first, last, binUs) {
    const start = Math.floor(this.time[first] / binUs);
    const bins = Math.floor(this.time[last - 1] / binUs) - start + 1;
    const bounds = new Int32Array(bins + 1).fill(last);
    let bin = -1;
    for (let row = first; row < last; row += 1) {
      const its = Math.floor(this.time[row] / binUs) - start;
      while (bin < its) bounds[(bin += 1)] = row;
    }
    const x = new Array(2 * bins);
    for (let index = 0; index < bins; index += 1) {
      x[2 * index] = ((start + index + 0.25) * binUs) / 1e6;
      x[2 * index + 1] = ((start + index + 0.75) * binUs) / 1e6;
    }
    return [x, ...columns.map((column) => extremes(column, bounds, bins))];
  }
}

function extremes(column, bounds, bins) {
  const y = new Array(2 * bins);
  for (let bin = 0; bin < bins; bin += 1) {
    let least = Infinity;
    let greatest = -Infinity;
    let leastAt = 0;
    let greatestAt = 0;
    for (let row = bounds[bin]; row < bounds[bin + 1]; row += 1) {
      const value = column[row];
      if (!Number.isFinite(value)) continue;
      if (value < least) {
        least = value;
        leastAt = row;
      }
      if (value > greatest) {
        greatest = value;
        greatestAt = row;
      }
    }
    const any = least !== Infinity;
    y[2 * bin] = any ? (leastAt <= greatestAt ? least : greatest) : null;
    y[2 * bin + 1] = any ? (leastAt <= greatestAt ? greatest : least) : null;
  }
  return y;
}
