"""`karman recordings`: list, check and simulate recordings.

Must not know: formats, physics; it asks the adapter and the simulation and prints what they say.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import pyarrow as pa
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipeline.adapters import recordings
from pipeline.core.errors import InputError
from pipeline.core.recording_rules import ERROR
from pipeline.simulation import scenarios
from pipeline.simulation.scenarios import DEFAULT_SEED, SCENARIOS, Scenario

app = typer.Typer(no_args_is_help=True, help="List, check and simulate recordings.")
_out = Console(soft_wrap=True, highlight=False)
_err = Console(stderr=True)
_LIST_WIDTH: Final = 90  # names must stay whole: people copy them


@app.command("list")
def list_recordings() -> None:
    """The recordings that come with the project."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("recording", "origin"):
        table.add_column(heading)
    for heading in ("length s", "frames", "mean kW", "peak kW"):
        table.add_column(heading, justify="right")
    broken = []
    for path in recordings.available():
        try:
            recording = recordings.read(path)
        except InputError as error:
            broken.append(str(error))
            continue
        total_w = _three_phase_w(recording)
        known = total_w.size > 0 and not np.isnan(total_w).all()
        mean, peak = (f"{value / 1000:.2f}" if known else "unknown" for value in _mean_and_peak(total_w))
        length_s = recording.frame_count / recording.rate_hz
        origin = "simulated" if recording.simulated else "yours"
        table.add_row(recording.name, origin, f"{length_s:.0f}", f"{recording.frame_count}", mean, peak)
    Console(width=max(_out.width, _LIST_WIDTH), highlight=False).print(table)
    if broken:
        raise InputError("; ".join(broken))


@app.command()
def check(file: Annotated[str, typer.Argument(help="a CSV or gzip CSV, or the name of a recording")]) -> None:
    """Say what is wrong with a recording, by line and column. Exit code 0: it can be played; 2: it cannot."""
    path = recordings.resolve(file)
    findings = recordings.check(path)
    for finding in findings:
        colour = "red" if finding.severity == ERROR else "yellow"
        _out.print(f"[{colour}]{finding.severity}[/] {escape(str(finding))}")
    errors = sum(finding.severity == ERROR for finding in findings)
    if errors:
        _out.print(f"{escape(str(path))}: cannot be played")
        raise typer.Exit(2)
    recording = recordings.read(path)
    kind = "a simulated recording" if recording.simulated else "a recording"
    _out.print(
        f"{escape(str(path))}: {kind} of {recording.frame_count} frames at {recording.rate_hz:.2f} Hz, can be played"
    )


@app.command()
def simulate(
    scenario: Annotated[str | None, typer.Argument(help="sample1 ... sample4, or a full name")] = None,
    every: Annotated[bool, typer.Option("--all", help="all four scenarios")] = False,
    seed: Annotated[int, typer.Option(min=0, help="of all random draws")] = DEFAULT_SEED,
    duration: Annotated[float | None, typer.Option(help="seconds; by default as long as the scenario")] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="a .csv.gz file, or a folder; by default datasets/ of a checkout, else the current folder"),
    ] = None,
) -> None:
    """Simulate recordings of a GPU server under load. The same seed gives the same recording."""
    chosen = _chosen(scenario, every)
    targets = [_target(one, output, len(chosen), seed == DEFAULT_SEED and duration is None) for one in chosen]
    try:
        runs = [scenarios.blocks(one, seed, duration) for one in chosen]
    except ValueError as error:
        raise InputError(str(error)) from error
    with _progress() as progress:
        for one, target, run in zip(chosen, targets, runs, strict=True):
            batches = list(
                progress.track(run, total=np.ceil(duration or one.duration_s), description=one.name, update_period=0.5)
            )
            recordings.write(target, pa.Table.from_batches(batches, scenarios.SCHEMA))
    for target in targets:
        _out.print(f"{escape(_shown(target))}  simulated, {target.stat().st_size / 1e6:.1f} MB")
    first = targets[0]
    playable = recordings.recording_name(first) if first.parent == recordings.datasets_folder() else _shown(first)
    _out.print(f"Play it through the pipeline: karman demo {escape(playable)}")


def _chosen(name: str | None, every: bool) -> list[Scenario]:
    if every == (name is not None):
        raise InputError("name one scenario, or give --all for the four of them")
    if name is None:
        return list(SCENARIOS)
    wanted = recordings.recording_name(Path(name))
    for scenario in SCENARIOS:
        if wanted in (scenario.name, scenario.name.split("-")[0]):
            return [scenario]
    raise InputError(f"no scenario {name!r}; there are {', '.join(scenario.name for scenario in SCENARIOS)}")


def _target(scenario: Scenario, output: Path | None, count: int, as_shipped: bool) -> Path:
    """Where a recording goes. Only what replaces a shipped one like for like goes among them unasked."""
    file_name = f"{scenario.name}.csv.gz"
    if output is None:
        folder = recordings.datasets_folder()
        checkout = (folder.parent / "pyproject.toml").is_file()
        return folder / file_name if checkout and as_shipped else Path(file_name)
    if output.is_dir():
        return output / file_name
    if count > 1:
        raise InputError(f"{output} is not a folder; several recordings need one")
    if not output.name.endswith(".csv.gz"):
        raise InputError(f"{output} is neither a folder nor named .csv.gz, which simulated recordings are")
    if not output.parent.is_dir():
        raise InputError(f"there is no folder {output.parent}")
    return output


def _three_phase_w(recording: recordings.Recording) -> np.ndarray:
    """Total real power of each frame, W; NaN where a stream is missing. Channel b counts where there is no a."""
    cycles = recording.cycles
    channel = "b" if cycles["a_real_power_w"].null_count == cycles.num_rows else "a"
    power_w = cycles[f"{channel}_real_power_w"].to_numpy(zero_copy_only=False).astype(np.float64)
    frame = cycles["frame"].to_numpy()
    total_w = np.bincount(frame, power_w, recording.frame_count)
    total_w[np.bincount(frame, minlength=recording.frame_count) < 3] = np.nan
    return total_w


def _mean_and_peak(total_w: np.ndarray) -> tuple[float, float]:
    seen = total_w[~np.isnan(total_w)]
    return (float(seen.mean()), float(seen.max())) if seen.size else (np.nan, np.nan)


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=_err, transient=True)


def _shown(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
