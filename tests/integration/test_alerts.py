"""The alert rules: valid, tested one by one, and about metrics that exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline.core import families

ALERTS = Path(__file__).parents[2] / "grafana" / "alerts"
RULES, TESTS = ALERTS / "karman.rules.yaml", ALERTS / "karman.test.yaml"


@pytest.mark.prometheus
@pytest.mark.parametrize("arguments", [("check", "rules", RULES.name), ("test", "rules", TESTS.name)], ids=" ".join)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    if shutil.which("promtool") is None:
        if os.environ.get("KARMAN_TEST_REQUIRE_PROMETHEUS"):
            pytest.fail("promtool is required here and not installed")
        pytest.skip("promtool is not installed (Debian package prometheus)")
    done = subprocess.run(["promtool", *arguments], cwd=ALERTS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_firing_and_not_firing() -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    checks = [check for test in yaml.safe_load(TESTS.read_text())["tests"] for check in test["alert_rule_test"]]
    fires = {check["alertname"] for check in checks if check["exp_alerts"]}
    assert fires == {rule["alert"] for rule in rules}
    assert {check["alertname"] for check in checks if not check["exp_alerts"]} >= fires - {"KarmanSpoolGrowing"}


def test_every_metric_of_the_rules_and_their_tests_exists() -> None:
    known = {family.name for family in families.ALL}
    for path in (RULES, TESTS):
        used = set(re.findall(r"\bkarman_[a-z_]+\b", path.read_text()))
        assert used - known == set()
