"""`karman submit`: starts the pipeline as a job of a Ray cluster, and with `--keep` sees to it that it runs on."""

from __future__ import annotations

import shlex
import threading
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape

from pipeline.adapters.jobs import Jobs
from pipeline.cli import signals
from pipeline.core.errors import InputError, KarmanError
from pipeline.core.keeping import Patience

LOOK_S: Final = 5.0  # a cluster that was rebuilt waits no longer for its job


def submit(
    config: Annotated[Path, typer.Option("--config", "-c", help="The fleet file, as the cluster's head sees it.")],
    address: Annotated[
        str, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="Ray's dashboard: http://HOST:8265.")
    ] = "http://127.0.0.1:8265",
    submission_id: Annotated[str, typer.Option("--id", help="Name of the job; one of it runs at a time.")] = "karman",
    token: Annotated[
        str | None, typer.Option(envvar="RAY_AUTH_TOKEN", help="The cluster's token; better in RAY_AUTH_TOKEN.")
    ] = None,
    keep: Annotated[
        bool, typer.Option(help="Stay, and submit again when the job ended or the cluster is new.")
    ] = False,
) -> None:
    """Submit `karman run -c CONFIG` to a Ray cluster. What runs there does not depend on this command."""
    console = Console(highlight=False, soft_wrap=True)
    jobs = Jobs(address, token)
    entrypoint = shlex.join(["karman", "run", "-c", str(config)])
    if keep:
        with signals.listening() as asked:
            _keep(jobs, submission_id, entrypoint, console, asked.leave)
        return
    found = jobs.find(submission_id)
    if found is not None and found.running:
        raise InputError(f"'{submission_id}' is running already: ray job stop {submission_id} ends it")
    _start(jobs, submission_id, entrypoint, ended=found is not None)
    console.print(f"submitted '{submission_id}': {entrypoint}")


def _start(jobs: Jobs, submission_id: str, entrypoint: str, ended: bool) -> None:
    if ended:
        jobs.delete(submission_id)
    jobs.submit(submission_id, entrypoint)


def _keep(jobs: Jobs, submission_id: str, entrypoint: str, console: Console, wanted: threading.Event) -> None:
    """Look every few seconds; say what changed, once."""
    patience = Patience()
    said = ""
    while True:
        try:
            found = jobs.find(submission_id)
            if found is not None and found.running:
                news = f"'{submission_id}' is {found.state.lower()}"
            else:
                if found is not None:
                    wait_s = patience.ended(time.monotonic())
                    why = found.message.strip().splitlines() or [""]
                    console.print(
                        f"'{submission_id}' has ended ({found.state.lower()}): {escape(why[-1][:300])};"
                        f" it is started again in {wait_s:.0f} s"
                    )
                    if wanted.wait(wait_s):
                        return
                _start(jobs, submission_id, entrypoint, ended=found is not None)
                patience.started(time.monotonic())
                news = f"submitted '{submission_id}': {entrypoint}"
        except KarmanError as error:
            news = escape(str(error))
        if news != said:
            console.print(news)
            said = news
        if wanted.wait(LOOK_S):
            return
