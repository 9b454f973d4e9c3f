"""Generate the Python code of the wire format, or `--check` that the committed code is current."""

from __future__ import annotations

import filecmp
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent
PROTO = Path("utilidata/karman/bibimbap/v1/bibimbap.proto")
GENERATED = (PROTO.with_name("bibimbap_pb2.py"), PROTO.with_name("bibimbap_pb2.pyi"))


def generate(target: Path) -> None:
    """Write `GENERATED` below `target`."""
    include = Path(protoc.__file__).parent / "_proto"  # google/protobuf/*.proto
    arguments = ["protoc", f"-I{ROOT}", f"-I{include}", f"--python_out={target}", f"--pyi_out={target}", str(PROTO)]
    if protoc.main(arguments) != 0:
        sys.exit("protoc failed")


def main() -> None:
    """Regenerate in place, or compare with `--check`."""
    if "--check" not in sys.argv[1:]:
        generate(ROOT)
        return
    with tempfile.TemporaryDirectory() as fresh:
        generate(Path(fresh))
        stale = [str(path) for path in GENERATED if not filecmp.cmp(ROOT / path, Path(fresh, path), shallow=False)]
    if stale:
        sys.exit(f"{', '.join(stale)} is not what the .proto gives: run 'make proto' and commit the result")
    print("the generated protobuf code is current")


if __name__ == "__main__":
    main()
