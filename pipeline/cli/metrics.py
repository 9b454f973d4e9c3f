"""`karman metrics`: the reference of every metric, as Markdown."""

from __future__ import annotations

import typer

from pipeline.core import families

HEAD = """# Metrics

Made by `make docs` from `pipeline/core/families.py`; do not edit. `karman metrics` prints it for the version that you
run. How to use them, what a restart means and the alert rules: [monitoring.md](monitoring.md).
"""


def reference() -> str:
    """The whole page."""
    lines = [HEAD]
    for group, members in families.GROUPS.items():
        lines += [f"## {group}", "", "| name | type | unit | labels | meaning |", "|---|---|---|---|---|"]
        for family in members:
            labels = ", ".join(f"`{label}`" for label in family.labels)
            lines.append(f"| `{family.name}` | {family.kind} | {family.unit} | {labels} | {family.meaning} |")
        lines.append("")
    return "\n".join(lines)


def metrics() -> None:
    """Print the reference of every metric: name, type, unit, labels, meaning."""
    typer.echo(reference(), nl=False)
