"""No example has a deadline: how fast a machine is, benchmarks tell."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
