"""Ray's Jobs REST API, as far as keeping one job running needs it; plain HTTP, for Ray's own client weighs 100 MB.

Must not know: Ray, which job, when to try again.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, Final

import orjson

from pipeline.adapters import direct
from pipeline.core.errors import InputError, KarmanError

TIMEOUT_S: Final = 30.0  # a submission waits until the head has started a supervisor for the job
RUNNING: Final = ("PENDING", "RUNNING")


@dataclass(frozen=True, slots=True)
class Job:
    """What Ray says of a job: its state in Ray's word, and why it ended."""

    state: str
    message: str = ""

    @property
    def running(self) -> bool:
        """It runs, or is about to."""
        return self.state in RUNNING


class Jobs:
    """The jobs of one cluster.

    Args:
        address: http://HOST:8265, Ray's dashboard.
        token: the cluster's token; None where it asks for none.
        timeout_s: how long one request may wait for its answer.
    """

    def __init__(self, address: str, token: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        if not address.startswith(("http://", "https://")):
            raise InputError(f"'{address}' is no address of Ray's dashboard: write http://HOST:8265")
        self._address = address.rstrip("/")
        self._timeout_s = timeout_s
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})

    def find(self, submission_id: str) -> Job | None:
        """A job; None where the cluster knows of none by this name.

        Raises:
            KarmanError: the cluster does not answer, or not in this way. InputError: it does not accept the token.
        """
        found = self._ask("GET", f"/api/jobs/{submission_id}", missing=True)
        if found is None:
            return None
        if not isinstance(found, dict) or "status" not in found:
            raise KarmanError(f"what answers at {self._address} is not Ray: a job without a status")
        return Job(str(found["status"]), str(found.get("message") or ""))

    def submit(self, submission_id: str, entrypoint: str) -> None:
        """Start a job. A name can be used once, until it is deleted. Raises as `find` does."""
        self._ask("POST", "/api/jobs/", {"submission_id": submission_id, "entrypoint": entrypoint})

    def delete(self, submission_id: str) -> None:
        """Forget a job that has ended. Raises as `find` does."""
        self._ask("DELETE", f"/api/jobs/{submission_id}", missing=True)

    def _ask(self, method: str, path: str, body: object = None, missing: bool = False) -> Any:
        request = urllib.request.Request(  # noqa: S310 - its scheme was looked at
            self._address + path,
            data=None if body is None else orjson.dumps(body),
            headers=self._headers,
            method=method,
        )
        try:
            with direct.opener.open(request, timeout=self._timeout_s) as response:
                return orjson.loads(response.read())
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND and missing:
                return None
            said = _last_line(error)
            if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise InputError(f"{self._address} says {said[:100]}: is RAY_AUTH_TOKEN the cluster's?") from error
            raise KarmanError(f"{self._address} refuses ({error.code}): {said[:300]}") from error
        except (OSError, HTTPException, ValueError) as error:
            why = str(getattr(error, "reason", error)).strip()
            raise KarmanError(f"no Ray answers at {self._address} ({why})") from error


def _last_line(error: urllib.error.HTTPError) -> str:
    """What a refusal says at its end, where Ray's tracebacks have their message."""
    try:
        lines = error.read().decode(errors="replace").strip().splitlines()
    except (OSError, HTTPException):  # it went while it spoke
        lines = []
    return lines[-1] if lines else str(error.reason)
