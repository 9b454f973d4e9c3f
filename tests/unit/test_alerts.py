"""The alerts of a snapshot; that they are those of the rules, tests/integration shows."""

from __future__ import annotations

import pytest

from pipeline.core.alerts import standing
from pipeline.core.config import Device, Metrics
from pipeline.core.metrics import Snapshot
from pipeline.core.model import Tally
from pipeline.core.status import DeviceState
from tests.unit.summaries import NOW_US


@pytest.mark.parametrize("families", [("*",), ("karman_database_*",)])
@pytest.mark.parametrize(("age_s", "silent"), [(1, False), (9, False), (11, True)])
def test_a_device_is_silent_after_ten_seconds_whichever_metrics_are_exposed(
    age_s: int, silent: bool, families: tuple[str, ...]
) -> None:
    snapshot = Snapshot(
        NOW_US,
        devices={"pdu1": Device("pdu1", "tcp://x:1")},
        states={"pdu1": DeviceState("tcp://x:1", True, 1, NOW_US - age_s * 1_000_000, Tally(9), 60.0)},
        settings=Metrics(families=families),
    )
    assert ("KarmanDeviceSilent" in {alert.name for alert in standing(snapshot)}) is silent
