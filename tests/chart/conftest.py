"""Real Helm, from the package helm-python-sdk: without it these tests are skipped, and in CI they fail."""

from __future__ import annotations

import importlib.util
import os

import pytest


@pytest.fixture(autouse=True)
def _helm() -> None:
    for package in ("helm_python", "kubernetes_validate"):
        if importlib.util.find_spec(package) is None:
            if os.environ.get("KARMAN_TEST_REQUIRE_HELM"):
                pytest.fail(f"{package} is required here and not installed")
            pytest.skip(f"{package} is not installed: it has no wheel for this machine")
