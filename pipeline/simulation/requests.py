"""Requests as they reach a language-model server: when, how long the prompt, how many tokens in answer. Simulated.

The rate wanders, so that counts are far burstier than a Poisson process, as real services' are: the arrivals of the
public Azure inference trace of 2023 (github.com/Azure/AzurePublicDataset) have a variance of 13 times their mean per
second and stay correlated over some 5 s. Lengths follow that trace's two kinds of traffic, conversation and code. The
figures below are modelling assumptions in that spirit, not a fit.

Must not know: how requests are served.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

LEAD_IN_S: Final = 5.0  # the server idles before the load generator starts
RAMP_S: Final = 15.0
LIMIT_PER_MINUTE: Final = 1000
_MEAN_PER_S: Final = 11.0
_RAMP_FLOOR: Final = 0.15  # of the mean rate, when the ramp starts
_WANDER_SD: Final = 0.5  # of the logarithm of the rate
_WANDER_TAU_S: Final = 6.0
_BURST_PER_S: Final = 0.06  # batch jobs that send all they have at once
_BURST_REQUESTS: Final = 14.0
_CODE_SHARE: Final = 0.25
_CONVERSATION: Final = ((750.0, 0.8), (180.0, 0.6))  # (median, sd of the logarithm) of prompt and answer, in tokens
_CODE: Final = ((1500.0, 1.1), (18.0, 0.8))
_PROMPT_LIMIT: Final = 7500
_ANSWER_LIMIT: Final = 600


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `arrival_s` counts from the start of the recording."""

    arrival_s: float
    prompt_tokens: int
    answer_tokens: int


class Arrivals:
    """The load generator. `next_second` is its only mutator; the n-th call gives the n-th second.

    Args:
        random: its own generator, so that nothing else shifts the draws.
        until_s: no request arrives from this second on.
    """

    def __init__(self, random: np.random.Generator, until_s: float) -> None:
        self._random = random
        self._until_s = until_s
        self._second = 0
        self._wander = 0.0
        self._last_minute: deque[int] = deque(maxlen=59)

    def next_second(self) -> list[Request]:
        """The requests of the next second, by arrival. Any 60 s in a row hold at most `LIMIT_PER_MINUTE`."""
        start_s = float(self._second)
        self._second += 1
        kept = math.exp(-1.0 / _WANDER_TAU_S)
        self._wander = kept * self._wander + math.sqrt(1 - kept * kept) * _WANDER_SD * self._random.standard_normal()
        steady = self._random.poisson(self._rate_per_s(start_s))
        burst = self._random.poisson(_BURST_REQUESTS) if self._random.random() < _BURST_PER_S else 0
        active = LEAD_IN_S <= start_s < self._until_s
        count = min(steady + burst, LIMIT_PER_MINUTE - sum(self._last_minute)) if active else 0
        self._last_minute.append(count)

        # A burst comes within a fraction of the second; the rest is spread over it.
        together = min(burst, count)
        at = np.concatenate(
            (self._random.random(count - together), self._random.random() * 0.7 + 0.3 * self._random.random(together))
        )
        return [self._request(start_s + moment) for moment in sorted(at.tolist())]

    def _rate_per_s(self, now_s: float) -> float:
        ramp = min(1.0, max(_RAMP_FLOOR, (now_s - LEAD_IN_S) / RAMP_S))
        return _MEAN_PER_S * ramp * math.exp(self._wander - _WANDER_SD**2 / 2)

    def _request(self, arrival_s: float) -> Request:
        prompt, answer = _CODE if self._random.random() < _CODE_SHARE else _CONVERSATION
        return Request(
            arrival_s,
            min(_PROMPT_LIMIT, 1 + int(self._random.lognormal(math.log(prompt[0]), prompt[1]))),
            min(_ANSWER_LIMIT, 1 + int(self._random.lognormal(math.log(answer[0]), answer[1]))),
        )
