"""`karman keys`: a key pair for one end of encrypted links."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline.adapters import curve


def keys(
    name: Annotated[str, typer.Argument(help="Whose keys: a device, or this pipeline.")],
    folder: Annotated[Path, typer.Option(help="Where the two files go.")] = Path(),
) -> None:
    """Make a CURVE key pair, for a device or for this pipeline."""
    public, secret, pair = curve.make_files(folder, name)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"{secret}  the pair: only its owner may read it, and it stays where it is used")
    console.print(f"{public}  the public key, for the other end")
    console.print(f"of a device, its public key in the fleet file:  server_key: '{pair.public.decode()}'")
    console.print(f"of this pipeline:  security: {{curve: {{client_secret_file: {secret}}}}}")
