"""What a pipeline refuses to be told, and how it reads devices."""

from __future__ import annotations

import os
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from pipeline.core.config import Device, Fleet, Limits, PipelineConfig, Replay, parse_connect
from pipeline.core.errors import InputError


def devices(count: int) -> tuple[Device, ...]:
    return tuple(Device(f"pdu{n}", f"tcp://10.0.0.{n}:5557") for n in range(count))


def config(**settings: Any) -> PipelineConfig:
    usual: dict[str, Any] = {"devices": devices(1), "dsn": "postgresql://karman:secret@db/power", "run_us": 1}
    return PipelineConfig(**usual | settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"devices": ()}, "name at least one"),
        *(
            ({"devices": (Device(name, "tcp://x:1"),)}, "cannot be a device's name")
            for name in ("", " ", "a b", "a\n", "a\0", 'a"', "a,b", "[x]", "x" * 129)
        ),
        ({"devices": (Device("a", "tcp://x:1"), Device("a", "tcp://x:2"))}, "name 'a' is given 2 times"),
        ({"devices": (Device("a", "tcp://x:1"), Device("b", "tcp://x:1"))}, "endpoint 'tcp://x:1' is given 2 times"),
        ({"devices": (Device("a", "tcp://x:1", os.fsdecode(b"\xff")),)}, "is no text: write it in UTF-8"),
        ({"window_s": 0.0}, "window must be above 0"),
        ({"window_s": -5.0}, "window must be above 0"),
        ({"devices_per_actor": 0}, "devices per actor must be above 0"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config(**settings)


@pytest.mark.parametrize("name", ["x", "rack1-pdu2", "10.0.0.7-5557", "a/b:c@d+e_f", "Zähler", "x" * 128])
def test_names_of_devices(name: str) -> None:
    assert config(devices=(Device(name, "tcp://x:1"),)).devices[0].name == name


def test_the_password_is_not_shown_and_nothing_can_be_changed() -> None:
    assert "secret" not in repr(config())
    with pytest.raises(FrozenInstanceError):
        config().window_s = 1.0  # type: ignore[misc]


def test_devices_by_the_command_line() -> None:
    texts = ["tcp://10.0.0.7:5557", "rack1=tcp://pdu:5558", "a=b=tcp://[::1]:1", "tcp://[::1]:5557"]
    assert parse_connect(texts, "power") == (
        Device("10.0.0.7-5557", "tcp://10.0.0.7:5557", "power"),
        Device("rack1", "tcp://pdu:5558", "power"),
        Device("a", "b=tcp://[::1]:1", "power"),
        Device("1-5557", "tcp://[::1]:5557", "power"),
    )


def test_the_bounds_in_bytes_of_an_ingest_grow_with_its_devices_beyond_64() -> None:
    limits = Limits(outbox_bytes=64 << 20)
    assert limits.of_ingest(1) == limits.of_ingest(64) == limits
    assert limits.of_ingest(256) == replace(
        limits,
        outbox_bytes=256 << 20,
        recent_bytes=4 * limits.recent_bytes,
        standby_bytes=4 * limits.standby_bytes,
    )


def test_frames_a_second_are_a_devices_mains_unless_a_recording_is_played() -> None:
    european = replace(devices(1)[0], mains_hz=50.0)
    live = config(mains_hz=60.0)
    assert (live.nominal_hz, live.hz_of(european), live.hz_of(devices(1)[0])) == (60.0, 50.0, 60.0)
    replayed = config(replay=Replay("sample1", rate_hz=60.0, speed=2.0))
    assert (replayed.nominal_hz, replayed.hz_of(european)) == (120.0, 120.0)


def test_a_device_alone_is_added_up_only_where_others_may_come() -> None:
    assert (config().fleet_settings, config().fleet_shards) == (None, 1)
    assert config(devices=devices(2)).fleet_settings == Fleet()
    several = config(fleet=Fleet(shards=3))
    assert (several.fleet_settings, several.fleet_shards) == (Fleet(shards=3), 3)
