"""An actor that is slow to answer, as on a machine that is too small, is heard all the same."""

from __future__ import annotations

import time
from typing import Any

from actors import launch, topology
from actors.asking import Questions


class Slow:
    """Answers after a second how often it was asked."""

    def __init__(self) -> None:
        self._asked = 0

    def report(self) -> int:
        raise ValueError("not now")

    def stats(self) -> int:
        self._asked += 1
        time.sleep(1.0)
        return self._asked


def test_a_slow_answer_comes_the_next_time_and_one_that_fails_or_dies_is_asked_anew() -> None:
    with launch.local_ray():
        topology.spawn(Slow, "slow")
        questions = Questions()
        answers: list[Any] = []
        deadline_s = time.monotonic() + 30
        while not (answers and answers[-1]) and time.monotonic() < deadline_s:
            answers.append(questions.ask({"slow": "stats", "not made": "stats"}, 0.2))
        assert answers[-1] == {"slow": 1}
        assert len(answers) > 2  # it was waited for more than once, and asked once
        assert questions.ask({"slow": "stats"}, 10.0) == {"slow": 2}

        topology.spawn(Slow, "other")
        assert questions.ask({"slow": "report", "other": "stats"}, 10.0) == {"other": 1}

        topology.ray.kill(topology.find("slow"), no_restart=True)
        assert questions.ask({"slow": "stats"}, 10.0) == {}
        topology.spawn(Slow, "slow")
        assert questions.ask({"slow": "stats"}, 10.0) == {"slow": 1}
