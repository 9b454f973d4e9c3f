"""What the dashboards share: uids, the choice of rack, device, stream and phase, the marks of gaps and restarts.

The choice is offered twice, from the metrics and from the tables, under the same names: it is carried along from
dashboard to dashboard.
"""

from __future__ import annotations

from typing import Final

from boards import annotation, choice, picker
from panels import (
    DATABASE,
    PROMETHEUS,
    Json,
)

# The first two are the original's: bookmarks keep working.
SUMMARY: Final = "karman-summary"
PER_CYCLE: Final = "karman-per-cycle"
FLEET: Final = "karman-fleet"
HEALTH: Final = "karman-pipeline"

_RACK = "The rack as configured; All includes devices without one."
_STREAM = "The electrical phase: karman1, 2 and 3 measure phases A, B and C."
PHASE: Final = picker(
    "phase",
    "Channel",
    "Each stream has two channels, which the wire calls phase a and phase b. Devices send a, some also b.",
    {"a": "a", "b": "b"},
    "a",
)

# From the metrics: in PromQL a chosen value stands in =~"$device".
RACK: Final = choice(
    "rack", "Rack", PROMETHEUS, "label_values(karman_device_info, rack)", description=_RACK, all_value=".*"
)
FEED: Final = choice(
    "feed",
    "Feed",
    PROMETHEUS,
    'label_values(karman_device_info{rack=~"$rack"}, feed)',
    description="The power feed as configured.",
    all_value=".*",
)
DEVICE: Final = choice(
    "device", "Device", PROMETHEUS, 'label_values(karman_device_info{rack=~"$rack", feed=~"$feed"}, device)'
)
STREAM: Final = choice(
    "stream",
    "Stream",
    PROMETHEUS,
    'label_values(karman_rms_current_mean_amperes{device=~"$device"}, stream)',
    description=_STREAM,
    all_value=".*",
)

# From the tables: there a value stands quoted, and a device without a rack has to be found too.
NO_RACK: Final = "(none)"
TABLE_RACK: Final = choice(
    "rack",
    "Rack",
    DATABASE,
    f"SELECT DISTINCT coalesce(nullif(rack, ''), '{NO_RACK}') FROM device",
    description=_RACK,
)
TABLE_DEVICE: Final = choice(
    "device",
    "Device",
    DATABASE,
    f"SELECT name FROM device WHERE coalesce(nullif(rack, ''), '{NO_RACK}') IN (${{rack:sqlstring}}) ORDER BY name",
    multi=False,
)
TABLE_STREAM: Final = choice("stream", "Stream", DATABASE, "SELECT name FROM stream ORDER BY name", description=_STREAM)


def gaps() -> Json:
    """A region wherever cycles of the chosen devices never arrived."""
    statement = """
SELECT g.from_time AS time, g.to_time AS timeend,
  format('%s: %s cycles missing', d.name, max(g.missing)) AS text, 'gap,' || g.reason AS tags
FROM gap g JOIN device d ON d.id = g.device_id
WHERE $__timeFilter(g.from_time) AND d.name IN (${device:sqlstring})
GROUP BY g.from_time, g.to_time, d.name, g.reason
ORDER BY g.from_time DESC LIMIT 500
"""
    target = {"refId": "Anno", "rawSql": statement.strip(), "rawQuery": True, "editorMode": "code", "format": "table"}
    return annotation("Gaps", "red", DATABASE, target)


def restarts() -> list[Json]:
    """The minute after each restart of one of our actors, and of a device."""
    return [
        annotation(
            name,
            color,
            PROMETHEUS,
            {"refId": "Anno", "expr": f"changes({counter}[1m]) > 0", "interval": "5s"},
            titleFormat=title,
            tagKeys=label,
        )
        for name, color, counter, title, label in (
            ("Restarts of actors", "orange", "karman_actor_restarts_total", "{{actor}} was restarted", "actor"),
            (
                "Restarts of devices",
                "purple",
                'karman_streams_renumbered_total{device=~"$device"}',
                "{{device}} began its numbering anew: it restarted",
                "device",
            ),
        )
    ]


def age_of_last_frame(labels: str) -> str:
    """Seconds since a device's last frame, when Prometheus looked: by `time()` its scrape interval would be added."""
    last = f"karman_last_frame_timestamp_seconds{{{labels}}}"
    return f"timestamp({last}) - {last}"
