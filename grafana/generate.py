"""Write the dashboards in `dashboards/`, or `--check` that the committed ones are current."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import fleet
import health
import per_cycle
import summary

FOLDER: Final = Path(__file__).parent / "dashboards"
BUILDERS: Final = (summary.build, per_cycle.build, fleet.build, health.build)


def rendered() -> dict[Path, str]:
    """What should stand in each file."""
    boards = [build() for build in BUILDERS]
    return {FOLDER / f"{board['uid']}.json": json.dumps(board, indent=2) + "\n" for board in boards}


def main() -> None:
    """Write in place, or compare with `--check`."""
    wanted = rendered()
    present = {path: path.read_text("utf-8") for path in FOLDER.glob("*.json")}
    if "--check" in sys.argv[1:]:
        stale = sorted(path.name for path in {*wanted, *present} if wanted.get(path) != present.get(path))
        if stale:
            sys.exit(f"{', '.join(stale)} is not what grafana/ gives: run 'make dashboards' and commit the result")
        print("the dashboards are current")
        return
    for path in present.keys() - wanted.keys():
        path.unlink()
    for path, text in wanted.items():
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
