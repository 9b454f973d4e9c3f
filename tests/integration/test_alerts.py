"""The alert rules: valid, tested one by one, and about metrics that exist."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline.core import alerts, families
from pipeline.core.fleet import families as fleet_families
from pipeline.core.metrics import Part, labels
from tests.promtool import promtool

ALERTS = Path(__file__).parents[2] / "grafana" / "alerts"
RULES, TESTS = ALERTS / "karman.rules.yaml", ALERTS / "karman.test.yaml"


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.prometheus
@pytest.mark.parametrize("arguments", [("check", "rules", RULES.name), ("test", "rules", TESTS.name)], ids=" ".join)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    promtool(ALERTS, *arguments)


# Values that samples are drawn from, around what the rules compare them with.
DRAWN: dict[str, tuple[float, ...]] = {
    "karman_last_frame_timestamp_seconds": (60.0, 50.5, 50.0, 49.5),
    "karman_completeness_ratio": (1.0, 0.99, 0.98),
    "karman_rms_current_mean_amperes": (0.5, 1.0, 1.5, 15.0, 16.0, 17.0),
    "karman_rms_current_held_max_amperes": (19.0, 20.0, 21.0),
    "karman_breaker_rating_amperes": (20.0,),
    "karman_current_imbalance_ratio": (0.1, 0.2, 0.25),
    "karman_three_phase_power_factor_ratio": (-0.9, -0.5, 0.5, 0.85, 0.9),
    "karman_rms_voltage_mean_volts": (240.0, 250.0, 277.0, 310.0),
    "karman_nominal_voltage_volts": (277.0,),
    "karman_fleet_breaker_utilisation_ratio": (0.7, 0.8, 0.9),
    "karman_fleet_redundancy_headroom_amperes": (-1.0, 0.0, 1.0),
    "karman_fleet_members": (2.0,),
    "karman_fleet_members_present": (1.0, 2.0),
    "karman_device_clock_offset_seconds": (-0.2, -0.1, 0.0, 0.1, 0.2),
    "karman_database_lag_seconds": (0.0, 30.0, 31.0),
    "karman_database_up": (0.0, 1.0),
    "karman_database_failing_jobs": (0.0, 2.0),
    "karman_configuration_refused": (0.0, 1.0),
    "karman_spool_bytes": (0.0, 80.0, 81.0),
    "karman_spool_limit_bytes": (100.0,),
    "karman_queue_bytes": (0.0, 50.0, 51.0),
    "karman_queue_limit_bytes": (100.0,),
    "karman_device_info": (1.0,),
}
NOW_S = 60
WORDS = {
    "device": ("pdu1", "pdu2", "pdu3"),
    "phase": ("a", "b"),
    "level": ("rack", "site"),
    "name": ("r1", "fleet"),
    "actor": ("ingest-0",),
    "receiver": ("store", "fleet"),
    "stream": ("threephase/karman1", "threephase/karman2"),
    "rack": ("r1", ""),
}


def drawn(rng: random.Random) -> dict[str, list[Part]]:
    """Some of the series of each family that the rules look at."""
    found = {}
    for family in families.ALL:
        if family.name in DRAWN:
            words = [("all", "A") if family in fleet_families.FLEET and n == "phase" else WORDS.get(n, ("",))
                     for n in family.labels]  # fmt: skip
            rows = [row for row in itertools.product(*words) if rng.random() < 0.8]
            if family.name == "karman_device_info":  # one for each device
                rows = list({row[0]: row for row in rows}.values())
            values = [rng.choice(DRAWN[family.name]) for _ in rows]
            found[family.name] = [Part(labels(family.labels, tuple(rows)), np.array(values))]
    return found


def text_of(name: str, of: Mapping[str, str]) -> str:
    inside = ",".join(f'{label}="{word}"' for label, word in of.items() if word)
    return f"{name}{{{inside}}}"


@pytest.mark.prometheus
def test_the_alerts_that_the_status_tells_are_those_of_the_rules(tmp_path: Path) -> None:
    """Prometheus evaluates each rule's expression over the samples of which our own judgement is asked."""
    rng, tests, told = random.Random(11), [], Counter[str]()
    for _ in range(25):
        parts = drawn(rng)
        ours = alerts.judged(alerts.Samples(NOW_S, parts))
        told.update(alert.name for alert in ours)
        series = [
            {"series": text_of(name, dict(zip(part.labels.names, row, strict=True))), "values": f"{value}+0x2"}
            for name, found in parts.items()
            for part in found
            for row, value in zip(part.labels.rows, part.values.tolist(), strict=True)
        ]
        asked = [
            {
                "expr": f"({rule['expr']}) + 0",  # without the metric's name
                "eval_time": f"{NOW_S}s",
                "exp_samples": [
                    {"labels": text_of("", alert.labels), "value": alert.value}
                    for alert in ours
                    if alert.name == rule["alert"]
                ],
            }
            for rule in rules()
            if rule["alert"] not in alerts.ONLY_PROMETHEUS
        ]
        tests.append({"interval": "30s", "input_series": series, "promql_expr_test": asked})
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "30s", "tests": tests}))
    promtool(tmp_path, "test", "rules", path.name)
    assert set(told) == {rule.name for rule in alerts.RULES}


def test_each_rule_is_judged_alike_or_said_to_need_a_prometheus() -> None:
    judged = {rule.name: (rule.severity, rule.waits_s) for rule in alerts.RULES}
    seconds = {"s": 1, "m": 60}
    written = {
        rule["alert"]: (
            rule["labels"]["severity"],
            int(rule["for"][:-1]) * seconds[rule["for"][-1]] if "for" in rule else 0,
        )
        for rule in rules()
    }
    assert judged | dict.fromkeys(alerts.ONLY_PROMETHEUS) == {
        name: None if name in alerts.ONLY_PROMETHEUS else of for name, of in written.items()
    }


def test_every_alert_is_tested_firing_and_not_firing() -> None:
    checks = [check for test in yaml.safe_load(TESTS.read_text())["tests"] for check in test["alert_rule_test"]]
    fires = {check["alertname"] for check in checks if check["exp_alerts"]}
    assert fires == {rule["alert"] for rule in rules()}
    assert {check["alertname"] for check in checks if not check["exp_alerts"]} >= fires - {"KarmanSpoolGrowing"}


def test_every_metric_of_the_rules_and_their_tests_exists() -> None:
    known = {family.name for family in families.ALL}
    for path in (RULES, TESTS):
        used = set(re.findall(r"\bkarman_[a-z_]+\b", path.read_text()))
        assert used - known == set()
