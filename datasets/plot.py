"""Plots the recordings in this folder: three-phase power, cycle by cycle. For developers: needs matplotlib."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

from pipeline.adapters.recordings import Recording, available, read

mpl.use("agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
CLOSE_S = (60.0, 66.0)


def plot(recording: Recording, target: Path) -> None:
    """Write a PNG: the whole recording above, six seconds of it below."""
    power_w = recording.cycles["a_real_power_w"].to_numpy(zero_copy_only=False).reshape(recording.frame_count, -1)
    total_kw = power_w.sum(axis=1) / 1000.0
    time_s = recording.time_ms.to_numpy() / 1000.0
    time_s = time_s - time_s[0]
    whole = len(total_kw) // 60 * 60
    close = (time_s >= CLOSE_S[0]) & (time_s < CLOSE_S[1])

    figure, (above, below) = plt.subplots(2, 1, figsize=(10, 5.6), height_ratios=(2, 1), layout="constrained")
    above.plot(time_s, total_kw, color="#7aa6d6", linewidth=0.25, label="each cycle")
    above.plot(
        time_s[30:whole:60],
        total_kw[:whole].reshape(-1, 60).mean(axis=1),
        color="#12324f",
        linewidth=1.1,
        label="mean of 60 cycles",
    )
    below.plot(time_s[close], total_kw[close], color="#12324f", linewidth=0.8)
    origin = "simulated" if recording.simulated else "measured elsewhere"
    above.set_title(f"{recording.name} ({origin})")
    above.legend(loc="lower right", fontsize=8)
    above.set_xlim(0, time_s[-1])
    below.set_xlim(*CLOSE_S)
    for axes in (above, below):
        axes.set_ylim(0, 12)
        axes.set_ylabel("three-phase power, kW")
        axes.grid(alpha=0.3)
    below.set_xlabel("time, s")
    # No software version in the file: the same recording gives the same picture.
    figure.savefig(target, dpi=80, metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    """Plot every recording of this folder into `plots/`."""
    folder = HERE / "plots"
    folder.mkdir(exist_ok=True)
    for path in available(HERE):
        recording = read(path)
        target = folder / f"{recording.name}.png"
        plot(recording, target)
        print(f"{target.relative_to(HERE.parent)}  {np.ceil(target.stat().st_size / 1000):.0f} kB")


if __name__ == "__main__":
    main()
