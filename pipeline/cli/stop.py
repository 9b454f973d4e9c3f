"""`karman stop`: ends the pipeline of a cluster, from any terminal."""

from __future__ import annotations

from rich.console import Console

from actors import launch
from pipeline.cli import session
from pipeline.core.errors import InputError


def stop(
    report: session.Report = None,
) -> None:
    """End the pipeline in the Ray cluster that RAY_ADDRESS names: what was received is stored, the balance printed."""
    if not launch.in_cluster():
        raise InputError(
            "RAY_ADDRESS names no cluster; a pipeline in a Ray of its own ends with Ctrl-C in its terminal, or SIGTERM"
        )
    with launch.a_ray():
        session.finish(Console(highlight=False), report)
