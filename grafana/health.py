"""Pipeline health: what the pipeline loses, waits for and restarts, from its own metrics and the table of gaps."""

from __future__ import annotations

from typing import Final

from boards import DATABASE_SOURCE, PROMETHEUS_SOURCE, dashboard
from panels import (
    Json,
    by_name,
    fixed,
    graph,
    joined,
    link,
    moment,
    prometheus,
    sql,
    stat,
    table,
    thresholds,
)
from scope import DEVICE, FEED, HEALTH, PER_CYCLE, RACK, age_of_last_frame, gaps, restarts

_DEVICE: Final = 'device=~"$device"'
_SILENT_S: Final = 10  # as the alert KarmanDeviceSilent
_SMALL: Final = {"width": 6, "height": 4}
_ZERO: Final = thresholds("green", (1e-9, "red"))
_SHOWN: Final = 10  # of thousands of devices, those that are worst off
_RATE: Final = "[$__rate_interval]"


def _mapping(zero: str, one: str) -> Json:
    """Words for 0, which is bad, and 1."""
    return {"type": "value", "options": {"0": {"text": zero, "color": "red"}, "1": {"text": one, "color": "green"}}}


def _headlines() -> list[Json]:
    heard = f"{age_of_last_frame(_DEVICE)} < {_SILENT_S}"
    silent = f"count(karman_device_info{{{_DEVICE}}} unless on (device) ({heard})) or vector(0)"
    return [
        stat(
            "Devices silent",
            f"Configured devices that were not heard for {_SILENT_S} s. The table below names them; look at the"
            " connection first, then at the device.",
            "none",
            silent,
            _ZERO,
            **_SMALL,
        ),
        stat(
            "Least complete device",
            "Frames received over those sent in the last minute, by the device's own numbers. Below 99 % for one device"
            " it is its network; for all of them it is this machine.",
            "percentunit",
            f"min(karman_completeness_ratio{{{_DEVICE}}})",
            thresholds("red", (0.99, "yellow"), (0.999, "green")),
            defaults={"decimals": 2, "max": 1},
            **_SMALL,
        ),
        stat(
            "Database behind",
            "How far the newest stored cycle is behind the newest received. Above 30 s the database does not keep up or"
            " is away; nothing is lost while the spool has room.",
            "s",
            "max(karman_database_lag_seconds)",
            thresholds("green", (5, "yellow"), (30, "red")),
            **_SMALL,
        ),
        stat(
            "Database",
            "Whether the database takes writes. Away: nothing is lost while the spool has room; see the database's own"
            " log.",
            "none",
            "min(karman_database_up)",
            thresholds("red", (1, "green")),
            defaults={"mappings": [_mapping("away", "up")]},
            **_SMALL,
        ),
        stat(
            "Spool in use",
            "Bytes on disk that wait for the database, as a share of what the spool may hold. When it is full the"
            " oldest frames go: bring the database back before.",
            "percentunit",
            "max(karman_spool_bytes / karman_spool_limit_bytes)",
            thresholds("green", (0.01, "yellow"), (0.8, "red")),
            defaults={"decimals": 1, "min": 0, "max": 1},
            **_SMALL,
        ),
        stat(
            "Frames dropped",
            "Received and not kept, in this time range. The panel of drops tells the reasons.",
            "none",
            prometheus("sum(increase(karman_drops_total[$__range]))", instant=True),
            _ZERO,
            defaults={"decimals": 0},
            **_SMALL,
        ),
        stat(
            "Failing jobs of the database",
            "Jobs of TimescaleDB at which its own scheduler fails; the pipeline runs them meanwhile, so nothing is"
            " missing. Update TimescaleDB, or give it more background workers. On plain PostgreSQL there are none.",
            "none",
            "max(karman_database_failing_jobs) or vector(0)",
            thresholds("green", (1, "yellow")),
            **_SMALL,
        ),
        stat(
            "Alerts firing",
            "Alert rules of this pipeline that fire now, where Prometheus has loaded them. What to do about each stands"
            " in docs/monitoring.md.",
            "none",
            'count(ALERTS{alertname=~"Karman.+", alertstate="firing"}) or vector(0)',
            _ZERO,
            **_SMALL,
        ),
    ]


def _devices() -> list[Json]:
    columns = {
        "device": "Device",
        "rack": "Rack",
        "feed": "Feed",
        "endpoint": "Endpoint",
        "Value #B": "Last heard",
        "Value #C": "Connected",
        "Value #D": "Complete",
        "Value #E": "Delay",
        "Value #F": "Missing",
        "Value #G": "Restarts",
    }
    queries = [
        f"max by (device, rack, feed, endpoint) (karman_device_info{{{_DEVICE}}})",
        f"max by (device) ({age_of_last_frame(_DEVICE)})",
        f"max by (device) (karman_device_connected{{{_DEVICE}}})",
        f"max by (device) (karman_completeness_ratio{{{_DEVICE}}})",
        f"max by (device) (karman_transport_delay_seconds{{{_DEVICE}}})",
        f"sum by (device) (increase(karman_frames_missing_total{{{_DEVICE}}}[$__range]))",
        f"sum by (device) (increase(karman_streams_renumbered_total{{{_DEVICE}}}[$__range]))",
    ]
    coloured = {"custom.cellOptions": {"type": "color-text"}}
    states = table(
        "Devices",
        "All chosen devices, the longest silent first. Not connected: address, port, network. Connected and silent: the"
        " device, or its topic. Connected and incomplete: the network between.",
        "none",
        [prometheus(query, instant=True) for query in queries],
        overrides=[
            by_name(
                "Device", links=[link("Its cycles", PER_CYCLE, "var-device=${__value.text}", "${__url_time_range}")]
            ),
            by_name(
                "Last heard", unit="s", thresholds=thresholds("green", (5, "yellow"), (_SILENT_S, "red")), **coloured
            ),
            by_name("Connected", mappings=[_mapping("no", "yes")], **coloured),
            by_name(
                "Complete",
                unit="percentunit",
                decimals=2,
                thresholds=thresholds("red", (0.99, "yellow"), (0.999, "green")),
                **coloured,
            ),
            by_name("Delay", unit="s"),
            by_name("Missing", decimals=0, thresholds=_ZERO, **coloured),
            by_name("Restarts", decimals=0),
        ],
        transformations=joined(columns, hidden=["Value #A"]),
        sort=[{"displayName": "Last heard", "desc": True}],
    )
    around = link("Cycles around this moment", PER_CYCLE, "var-device=${__field.labels.device}", moment(60))
    completeness = graph(
        "Completeness of the least complete",
        f"Frames received over those sent, of the last minute, of the {_SHOWN} devices that lose most. One that falls"
        " is its network or its device; all that fall together are this machine: look at queues and lag below.",
        "percentunit",
        [prometheus(f"bottomk({_SHOWN}, karman_completeness_ratio{{{_DEVICE}}})", "{{device}}")],
        defaults={"max": 1, "decimals": 2},
        links=[around],
    )
    delay = graph(
        "Delay from device to pipeline",
        f"From the device's time of its newest frame to arrival, of the {_SHOWN} devices furthest off. A constant"
        " offset is a clock to be set; a growing one is a network that queues.",
        "s",
        [prometheus(f"topk({_SHOWN}, karman_transport_delay_seconds{{{_DEVICE}}})", "{{device}}")],
        links=[around],
    )
    clocks = graph(
        "Clocks of devices",
        f"How far a device's clock is ahead of the fleet's, estimated, of the {_SHOWN} furthest off. A clock"
        " further off than the sums wait leaves its device out of them: set it, or its time server.",
        "s",
        [prometheus(f"topk({_SHOWN}, abs(karman_device_clock_offset_seconds{{{_DEVICE}}}))", "{{device}}")],
        links=[around],
    )
    left_out = graph(
        "Rows left out of the fleet's sums",
        "late: a device is slower than the sums wait. ahead, untimed: its clock. unknown: no real power,"
        " or more than 10 MW. They are stored all the same; only the sums lack them.",
        "recps",
        [
            prometheus(
                f"sum by (reason) (rate(karman_fleet_excluded_rows_total{{{_DEVICE}}}{_RATE}))"
                ' or label_replace(vector(0), "reason", "none", "", "")',
                "{{reason}}",
            )
        ],
    )
    return [states, completeness, delay, clocks, left_out]


def _gaps() -> list[Json]:
    lost = graph(
        "Frames missing",
        f"Found missing by sequence number, of the {_SHOWN} devices that miss most, and the time that no energy is"
        " known of. Each is a row in the table of gaps, with its reason.",
        "mps",
        [
            prometheus(f"topk({_SHOWN}, rate(karman_frames_missing_total{{{_DEVICE}}}{_RATE}))", "{{device}}"),
            prometheus(
                f"max(rate(karman_energy_gap_seconds_total{{{_DEVICE}}}{_RATE}))", "Share of time without energy"
            ),
        ],
        overrides=[by_name("Share of time without energy", unit="percentunit", color=fixed("red"))],
    )
    statement = """
SELECT g.from_time AS "From", d.name AS "Device", max(extract(epoch FROM g.to_time - g.from_time))::float8 AS "Length",
  max(g.missing) AS "Frames missing", g.reason AS "Reason"
FROM gap g JOIN device d ON d.id = g.device_id
WHERE $__timeFilter(g.from_time) AND d.name IN (${device:sqlstring})
GROUP BY g.from_time, d.name, g.reason
ORDER BY g.from_time DESC LIMIT 200
"""
    around = link(
        "Cycles around it", PER_CYCLE, "var-device=${__data.fields.Device}", "time=${__value.raw}", "time.window=10000"
    )
    listed = table(
        "Gaps",
        "What never arrived, the newest first. transport: lost between device and pipeline. restart: the pipeline or"
        " its ingest was down. absent: the device left the phase out. Click a time for the cycles around it.",
        "none",
        [sql(statement, table=True)],
        width=12,
        height=8,
        overrides=[
            by_name("From", unit="dateTimeAsIso", links=[around]),
            by_name("Length", unit="s"),
            by_name("Frames missing", thresholds=thresholds("red"), **{"custom.cellOptions": {"type": "color-text"}}),
        ],
    )
    return [lost, listed]


def _stores() -> list[Json]:
    waiting = graph(
        "Waiting for the database",
        "Frames in flight and on disk. In flight is a fraction of a second's worth; more, and the database is slow.",
        "none",
        [
            prometheus("sum(karman_frames_in_flight)", "In flight"),
            prometheus("sum(karman_frames_spooled)", "Spooled"),
            prometheus("sum(karman_store_waiting_batches)", "Batches handed in"),
        ],
        overrides=[by_name("Spooled", color=fixed("red"))],
    )
    behind = graph(
        "Database: behind, and busy",
        "How far stored data is behind received data, and the share of time the writer spends in transactions. Near 100"
        " % busy it can take no more: a faster disk, fewer indexes, or another shard.",
        "s",
        [
            prometheus("max(karman_database_lag_seconds)", "Behind"),
            prometheus(f"sum(rate(karman_store_busy_seconds_total{_RATE}))", "Busy"),
        ],
        overrides=[by_name("Busy", unit="percentunit", min=0)],
    )
    spool = graph(
        "Spool",
        "Bytes on disk that wait for the database, and what the disk may hold. It fills while the database is away and"
        " drains in order when it is back. If it will not last, free the database or raise the bound.",
        "bytes",
        [
            prometheus("sum(karman_spool_bytes)", "Waiting"),
            prometheus("sum(karman_spool_limit_bytes)", "Bound"),
            prometheus("sum(karman_spool_segments)", "Segments"),
        ],
        overrides=[
            by_name("Bound", color=fixed("red"), **{"custom.lineStyle": {"fill": "dash", "dash": [10, 10]}}),
            by_name("Segments", unit="none"),
        ],
    )
    queues = graph(
        "Queues between actors",
        "How full the memory is in which an actor keeps batches for another, the fullest ones. Acknowledged batches"
        " that are retained count too. Above 50 % the receiver does not keep up; at 100 % nothing"
        " more is taken, and what comes is dropped.",
        "percentunit",
        [prometheus(f"topk({_SHOWN}, karman_queue_bytes / karman_queue_limit_bytes)", "{{actor}} to {{receiver}}")],
        defaults={"min": 0, "max": 1},
    )
    return [behind, waiting, spool, queues]


def _work() -> list[Json]:
    throughput = graph(
        "Throughput",
        "Frames received and stored a second. The lines lie on each other; stored falls behind while the database is"
        " slow, and overtakes while the spool drains.",
        "mps",
        [
            prometheus(f"sum(rate(karman_frames_received_total{_RATE}))", "Received"),
            prometheus(f"sum(rate(karman_frames_stored_total{_RATE}))", "Stored"),
        ],
        overrides=[by_name("Received", color=fixed("blue")), by_name("Stored", color=fixed("green"))],
    )
    drops = graph(
        "Frames dropped, by reason",
        "Received and not kept. malformed, empty, other_topic: what a device sends. duplicate: sent twice, harmless."
        " refused: see quarantine. spool_full, outbox_full: data was lost; the database was away too long, or the"
        " machine is too slow.",
        "mps",
        [prometheus(f"sum by (reason) (rate(karman_drops_total{_RATE}))", "{{reason}}")],
        custom={"fillOpacity": 30, "stacking": {"mode": "normal", "group": "A"}},
    )
    restarted = graph(
        "Restarts of actors",
        "Restarts since the pipeline was started. One is no harm: nothing stored is lost, and the gap is recorded."
        " One that grows is an actor that cannot run; see its log below Ray's session folder.",
        "none",
        [prometheus("karman_actor_restarts_total", "{{actor}}")],
        defaults={"decimals": 0, "min": 0},
    )
    calls = graph(
        "Calls between actors",
        "Actor calls made a second, and those that failed and were made again. Failures come with restarts; without"
        " them, the nodes or the network between them are in trouble.",
        "ops",
        [
            prometheus(f"sum by (receiver) (rate(karman_calls_total{_RATE}))", "to {{receiver}}"),
            prometheus(f"sum(rate(karman_call_failures_total{_RATE}))", "failed"),
        ],
        overrides=[by_name("failed", color=fixed("red"))],
    )
    return [throughput, drops, restarted, calls]


def build() -> Json:
    """The dashboard."""
    return dashboard(
        HEALTH,
        "Karman: Pipeline health",
        "Whether every cycle of every device arrives and is stored, and what is in the way where not.",
        [
            ("", _headlines()),
            ("Devices", _devices()),
            ("Gaps", _gaps()),
            ("Database and spool", _stores()),
            ("The pipeline's work", _work()),
        ],
        variables=[PROMETHEUS_SOURCE, DATABASE_SOURCE, RACK, FEED, DEVICE],
        annotations=[gaps(), *restarts()],
        refresh="5s",
        since="15m",
    )
