"""What a new configuration changes in a running pipeline.

Must not know: who carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from pipeline.core.assignment import Groups
from pipeline.core.config import Device, Fleet, PipelineConfig

CHANGEABLE: Final = frozenset({"devices", "devices_per_actor", "metrics", "fleet", "breakers", "grafana_url", "token"})
# But not these parts of them: what was gathered by the old ones cannot be told by the new ones.
FIXED: Final = {"metrics": ("hold_s",), "fleet": ("shards", "flush_s", "percentile_s")}


@dataclass(frozen=True, slots=True)
class Change:
    """Names of devices by what becomes of them. With `refused`, the settings that cannot change, nothing does."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()  # to another ingest
    changed: tuple[str, ...] = ()  # described in another way, or heard elsewhere
    settings: tuple[str, ...] = ()  # names of other settings
    refused: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, part.name) for part in fields(self))

    def __str__(self) -> str:
        parts = []
        for what in ("added", "removed", "moved", "changed"):
            names = getattr(self, what)
            if names:
                shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
                parts.append(f"{what} {shown}")
        if self.settings:
            parts.append("new " + ", ".join(self.settings))
        return "; ".join(parts) or "nothing changed"


def fixed_changes(before: PipelineConfig, after: PipelineConfig) -> tuple[str, ...]:
    """The names of the settings that differ and cannot change while a pipeline runs."""
    fixed = [name for name in _differing(before, after) if name not in CHANGEABLE]
    parts = (("metrics", before.metrics, after.metrics), ("fleet", _fleet(before), _fleet(after)))
    for part, old, new in parts:
        fixed += [f"{part}.{name}" for name in FIXED[part] if getattr(old, name) != getattr(new, name)]
    return tuple(fixed)


def change(before: PipelineConfig, groups: Groups, after: PipelineConfig, new_groups: Groups) -> Change:
    """What is different."""
    old = {device.name: device for device in before.devices}
    new = {device.name: device for device in after.devices}
    home = {device: name for name, members in groups.items() for device in members}
    new_home = {device: name for name, members in new_groups.items() for device in members}
    return Change(
        tuple(name for name in new if name not in old),
        tuple(name for name in old if name not in new),
        tuple(name for name in new if name in old and home.get(name) != new_home.get(name)),
        tuple(name for name in new if name in old and old[name] != new[name]),
        tuple(name for name in _differing(before, after) if name != "devices"),
    )


def _fleet(config: PipelineConfig) -> Fleet:
    return config.fleet_settings or Fleet()


def same_link(one: Device, other: Device) -> bool:
    """Whether two descriptions of a device lead to the same publisher."""
    return (one.endpoint, one.topic, one.server_key) == (other.endpoint, other.topic, other.server_key)


def _differing(before: PipelineConfig, after: PipelineConfig) -> list[str]:
    names = [setting.name for setting in fields(PipelineConfig) if setting.name != "run_us"]
    return [name for name in names if getattr(before, name) != getattr(after, name)]
