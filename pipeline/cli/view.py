"""How a status document looks in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.core.framing import printable

MOST_DEVICES = 12  # rows that fit a terminal; the others are counted in a line
MOST_STREAMS = 12  # of a device
MOST_PLACES = 12
MOST_ALERTS = 20
MOST_NOTICES = 12
_TOLD = ("device", "stream", "phase", "level", "name", "actor", "receiver")  # labels that say of what an alert is
CLOCK_S = 0.02  # more than a cycle
LONGEST_STREAM = 16  # letters
BEYOND = 1e7  # no figure of a device has so many digits


def _figure(value: float | None, digits: int, scale: float = 1.0) -> str:
    if value is None:
        return "-"
    return f"{value / scale:,.{digits}f}" if abs(value / scale) < BEYOND else f"{value / scale:.3g}"


def _sign(device: Mapping[str, Any]) -> Text:
    if device["age_s"] is None:
        return Text("not heard yet", style="yellow")
    return Text("silent", style="red") if device["silent"] else Text("total")


def device_table(document: Mapping[str, Any]) -> Table:
    """Every device's streams: kW, V, A, power factor, rate, lag, missing."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("device", overflow="fold")  # a long name takes more lines, and no figure its room
    table.add_column("phase", no_wrap=True, max_width=LONGEST_STREAM)
    for title in ("kW", "V", "A", "PF", "msg/s", "lag ms", "missing"):
        table.add_column(title, justify="right", no_wrap=True)
    devices = document["devices"]
    for name, device in list(devices.items())[:MOST_DEVICES]:
        total: Mapping[str, Any] = next(iter(device["three_phase"].values()), {})  # of the first channel that has one
        table.add_row(
            Text(name),
            _sign(device),
            _figure(total.get("real_power_w"), 3, 1000),
            "",
            "",
            "",
            _figure(device["rate_hz"], 1),
            _figure(device["lag_s"], 1, 0.001),
            f"{device['missing']:,}",
        )
        streams = sorted(device["phases"].items())
        for stream, channels in streams[:MOST_STREAMS]:
            for channel, figures in sorted(channels.items()):
                table.add_row(
                    "",
                    Text(printable(f"  {stream.rpartition('/')[2]} {channel}"), style="dim"),
                    _figure(figures["real_power_w"], 3, 1000),
                    _figure(figures["rms_voltage_v"], 2),
                    _figure(figures["rms_current_a"], 2),
                    _figure(figures["power_factor"], 4),
                )
        if len(streams) > MOST_STREAMS:
            table.add_row("", Text(f"  and {len(streams) - MOST_STREAMS} more", style="dim"))
    if len(devices) > MOST_DEVICES:
        table.add_row(Text(f"and {len(devices) - MOST_DEVICES} more", style="dim"))
    return table


def fleet_table(document: Mapping[str, Any]) -> Table | None:
    """What sites, halls, rows, feeds and racks draw together; None where there is no fleet."""
    rows = [
        (level, name, figures)
        for level in ("site", "hall", "row", "feed", "rack")
        for name, figures in document["fleet"].get(level, {}).items()
    ]
    if not rows:
        return None
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("together", ""):
        table.add_column(title, overflow="fold")
    for title in ("devices", "kW", "15 min peak", "coincidence", "headroom A"):
        table.add_column(title, justify="right", no_wrap=True)
    for level, name, figures in rows[:MOST_PLACES]:
        present, members = figures["members_present"], figures["members"]
        table.add_row(
            level,
            Text(name),
            Text(f"{present} of {members}", style="" if present == members else "red"),
            _figure(figures["real_power_w"], 3, 1000),
            _figure(figures["real_power_peak_15m_w"], 3, 1000),
            _figure(figures["coincidence_15m_ratio"], 3),
            _figure(figures["breaker_headroom_a"], 1),
        )
    if len(rows) > MOST_PLACES:
        table.add_row(Text(f"and {len(rows) - MOST_PLACES} more", style="dim"))
    return table


def clock_lines(document: Mapping[str, Any]) -> list[Text]:
    """Devices whose clocks differ so much from the fleet's that sums by the cycle suffer."""
    far = {
        name: device["clock_offset_s"]
        for name, device in document["devices"].items()
        if abs(device["clock_offset_s"] or 0.0) > CLOCK_S
    }
    said = [f"the clock of {name} is {offset:+.3f} s off the fleet's" for name, offset in list(far.items())[:3]]
    more = [f"and those of {len(far) - 3} more"] if len(far) > 3 else []
    return [Text(line, style="yellow") for line in said + more]


def balance_line(balance: Mapping[str, Any]) -> Text:
    """The balance in messages, on one line."""
    dropped = sum(balance["dropped"].values())
    parts = [] if balance["published"] is None else [f"published {balance['published']:,}"]
    parts += [
        f"received {balance['received']:,}",
        f"stored {balance['stored']:,}",
        *([f"spooled {balance['spooled']:,}"] if balance["spooled"] else []),
        f"in flight {balance['in_flight']:,}",
        f"dropped {dropped:,}",
        f"missing {balance['missing']:,}",
    ]
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in balance["dropped"].items() if count)
    return Text("messages: " + " · ".join(parts) + (f"  ({reasons})" if reasons else ""))


def alert_table(document: Mapping[str, Any]) -> Table | None:
    """The alerts whose conditions hold, the gravest first; None where there are none."""
    alerts = sorted(document["alerts"], key=lambda alert: str(alert["severity"]))  # critical before warning
    if not alerts:
        return None
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("alert", "of"):
        table.add_column(title)
    table.add_column("value", justify="right")
    table.add_column("fires")
    for alert in alerts[:MOST_ALERTS]:
        style = "red" if alert["severity"] == "critical" else "yellow"
        of = ", ".join(f"{name} {alert['labels'][name]}" for name in _TOLD if name in alert["labels"])
        fires = f"once it has held for {alert['waits_s']:,.0f} s" if alert["waits_s"] else "at once"
        table.add_row(Text(alert["name"], style=style), Text(of), f"{alert['value']:,.3g}", fires)
    if len(alerts) > MOST_ALERTS:
        table.add_row(Text(f"and {len(alerts) - MOST_ALERTS} more", style="dim"))
    return table


def screen(document: Mapping[str, Any]) -> RenderableType:
    """The whole picture of a running pipeline."""
    replay = document["replay"]
    simulated = " (simulated)" if replay and replay.get("simulated") else ""
    source = f"replay of {replay['recording']}{simulated}" if replay else "live devices"
    lines: list[RenderableType] = [Text(f"Karman pipeline · {source}", style="bold"), device_table(document), Text("")]
    if (fleet := fleet_table(document)) is not None:
        lines += [fleet, *clock_lines(document), Text("")]
    lines.append(balance_line(document["balance"]))
    restarted = {name: entry["restarts"] for name, entry in document["actors"].items() if entry["restarts"]}
    if restarted:
        said = ", ".join(f"{name} {count}" for name, count in restarted.items())
        lines.append(Text(f"actor restarts: {said}", style="yellow"))
    if document["store"].get("error"):
        lines.append(Text(f"database: {document['store']['error']}", style="red"))
    notices = document["notices"]
    lines += [Text(notice, style="yellow") for notice in notices[-MOST_NOTICES:]]
    if len(notices) > MOST_NOTICES:
        lines.append(Text(f"and {len(notices) - MOST_NOTICES} more", style="dim"))
    return Group(*lines)
