"""Asks actors, and does not wait long. Who has not answered yet is not asked again, which would delay it more."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import ray

from actors import topology

log = logging.getLogger(__name__)


class Questions:
    """Questions to actors by name, at most one to each at a time."""

    def __init__(self) -> None:
        self._handles: dict[str, Any] = {}
        self._asked: dict[str, Any] = {}

    def ask(self, questions: Mapping[str, str], patience_s: float) -> dict[str, Any]:
        """Ask each actor for a method, and wait; what comes later is among the answers of the next time.

        Returns:
            By name what was answered, by those that have.
        """
        for name, method in questions.items():
            if name in self._asked:
                continue
            try:
                if name not in self._handles:
                    self._handles[name] = topology.find(name)
                self._asked[name] = getattr(self._handles[name], method).remote()
            except ValueError:
                continue  # not made yet
        if not self._asked:
            return {}
        references = list(self._asked.values())
        ready, _ = ray.wait(references, num_returns=len(references), timeout=patience_s)
        names = {reference: name for name, reference in self._asked.items()}
        answers = {}
        for reference in ready:
            name = names[reference]
            del self._asked[name]
            try:
                answers[name] = ray.get(reference)
            except ray.exceptions.RayActorError:
                self._handles.pop(name, None)  # it may be made anew under its name
            except ray.exceptions.RayError:
                log.exception("%s cannot say; it is shown as it was last seen", name)
        return answers
