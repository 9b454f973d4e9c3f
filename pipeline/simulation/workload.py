"""Eight GPUs that serve a large language model together: continuous batching, chunked prefill, power cap. Simulated.

The engine runs one iteration after another, each about one AC cycle long. An iteration advances every answer in the
batch by one token (decode: bound by memory, so it draws little and hardly minds the clock) and, when prompts wait,
works off a chunk of them (prefill: bound by arithmetic, so it draws nearly all that the board may and slows with the
clock). A cap that binds thus lengthens the prefill, the queue grows, and the work comes back later. All eight GPUs hold
a slice of every layer: they move together, and differ only by their silicon and a little noise.

Must not know: fans, power supplies, mains.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.simulation.powercap import IDLE_W, PowerCap
from pipeline.simulation.requests import Arrivals, Request

GPUS: Final = 8
STEPS_PER_S: Final = 1000
STEP_S: Final = 1.0 / STEPS_PER_S

_BATCH_LIMIT: Final = 192  # answers being decoded at once
_QUEUE_LIMIT: Final = 600  # beyond it the server refuses (HTTP 429), so a long cap cannot grow the queue for ever
_CHUNK_TOKENS: Final = 512  # prefill per iteration
_DECODE_S: Final = 0.0165  # an iteration without prefill and with a small batch
_DECODE_S_PER_ANSWER: Final = 20e-6
_CHUNK_S: Final = 0.005  # what a full chunk adds: 17 to 23 ms in all
_DECODE_BOUND: Final = 0.30  # the share of an iteration's time that goes as 1/clock ...
_PREFILL_BOUND: Final = 0.45  # ... and what a full chunk adds to it
_DECODE_W: Final = (350.0, 190.0)  # of a board at full clock: with a batch of one, and added by a full batch
_PREFILL_W: Final = 930.0
_HOST_GAP_S: Final = 0.0012  # between iterations the host schedules and the GPUs wait
_HOST_GAP_SHARE: Final = 0.5  # of the dynamic power that remains meanwhile
_STALL_ABOVE: Final = 2.3  # one iteration in a hundred is held up by the host: a draw beyond so many sd ...
_STALL_S: Final = 0.06  # ... by so much for each sd more
_WANDER_SD: Final = 0.035  # of an iteration's dynamic power: how the tokens spread over experts
_WANDER_KEPT: Final = 0.5
_BOARD_TAU_S: Final = 0.003  # the board's voltage regulators
_OWN_SD: Final = 0.006  # each GPU's own noise, relative
_SILICON_SD: Final = 0.012  # spread of one GPU's draw to the next at the same work
_OWN_KNOTS: Final = 50  # per second


class Workload:
    """The GPUs under load. `next_second` is its only mutator.

    Args:
        arrivals: where requests come from.
        cap: the power cap, common to all GPUs.
        random: its own generator.
    """

    def __init__(self, arrivals: Arrivals, cap: PowerCap, random: np.random.Generator) -> None:
        self._arrivals = arrivals
        self._cap = cap
        self._random = random
        self._step = 0
        self._queue: deque[list[int]] = deque()  # [prompt tokens still to prefill, answer tokens]
        self._ending: Counter[int] = Counter()  # answers by the iteration that ends them
        self._batch = 0
        self._iteration = 0
        self._left_s = 0.0  # of the running iteration, at full clock
        self._gap_s = _HOST_GAP_S  # at the end of the running iteration
        self._bound = 0.0
        self._demand_w = IDLE_W
        self._board_w = IDLE_W
        self._wander = 0.0
        self._silicon = 1.0 + _SILICON_SD * random.standard_normal(GPUS)
        self._silicon /= self._silicon.mean()
        self._own = np.zeros(GPUS)
        self.refused = 0

    @property
    def waiting(self) -> int:
        """Requests whose prompt is not worked off yet."""
        return len(self._queue)

    def next_second(self) -> NDArray[np.float64]:
        """Power of each GPU over the next second, W, shape (GPUS, STEPS_PER_S)."""
        coming = deque(self._arrivals.next_second())
        draws = iter(self._random.standard_normal((STEPS_PER_S, 2)).tolist())  # more than a second has iterations
        power_w = np.empty(STEPS_PER_S)
        cap = self._cap
        for index in range(STEPS_PER_S):
            now_s = self._step * STEP_S
            self._step += 1
            while coming and coming[0].arrival_s <= now_s:
                self._accept(coming.popleft())
            if self._left_s <= 0.0:
                self._begin_iteration(*next(draws))
            demand_w = self._demand_w
            if self._left_s > 0.0:
                self._left_s -= STEP_S / (1.0 - self._bound + self._bound / cap.clock)
                if self._left_s < self._gap_s:
                    demand_w = IDLE_W + (demand_w - IDLE_W) * _HOST_GAP_SHARE
            self._board_w += (cap.draw_w(demand_w) - self._board_w) * (STEP_S / _BOARD_TAU_S)
            cap.step(now_s, self._board_w)
            power_w[index] = self._board_w
        for late in coming:  # within the last step
            self._accept(late)
        return self._individual(power_w)

    def _accept(self, request: Request) -> None:
        if len(self._queue) < _QUEUE_LIMIT:
            self._queue.append([request.prompt_tokens, request.answer_tokens])
        else:
            self.refused += 1

    def _begin_iteration(self, draw: float, hitch: float) -> None:
        self._batch -= self._ending.pop(self._iteration, 0)
        self._iteration += 1
        chunk = 0
        while self._queue and chunk < _CHUNK_TOKENS and self._batch < _BATCH_LIMIT:
            head = self._queue[0]
            taken = min(head[0], _CHUNK_TOKENS - chunk)
            chunk += taken
            head[0] -= taken
            if head[0] == 0:
                self._queue.popleft()
                self._batch += 1
                self._ending[self._iteration + head[1]] += 1
        if chunk == 0 and self._batch == 0:
            self._left_s, self._demand_w = 0.0, IDLE_W
            return
        full, crowd = chunk / _CHUNK_TOKENS, self._batch / _BATCH_LIMIT
        self._left_s += _DECODE_S + _DECODE_S_PER_ANSWER * self._batch + _CHUNK_S * full
        self._gap_s = _HOST_GAP_S
        if hitch > _STALL_ABOVE:
            self._gap_s += _STALL_S * (hitch - _STALL_ABOVE + 0.3)
        self._left_s += self._gap_s - _HOST_GAP_S
        self._bound = _DECODE_BOUND + _PREFILL_BOUND * full
        self._wander = _WANDER_KEPT * self._wander + (1 - _WANDER_KEPT**2) ** 0.5 * _WANDER_SD * draw
        decode_w = _DECODE_W[0] + _DECODE_W[1] * crowd**0.5
        full_w = decode_w + (_PREFILL_W - decode_w) * full
        self._demand_w = IDLE_W + (full_w - IDLE_W) * (1.0 + self._wander)

    def _individual(self, mean_w: NDArray[np.float64]) -> NDArray[np.float64]:
        """Each GPU's draw, given that of a mean one: its silicon scales the dynamic part, its own noise wanders."""
        knots = _OWN_SD * self._random.standard_normal((GPUS, _OWN_KNOTS))
        knots = np.concatenate((self._own[:, None], knots), axis=1)
        self._own = knots[:, -1]
        at = np.arange(1, STEPS_PER_S + 1) * (_OWN_KNOTS / STEPS_PER_S)
        own = np.stack([np.interp(at, np.arange(_OWN_KNOTS + 1), row) for row in knots])
        dynamic_w = (mean_w - IDLE_W) * self._silicon[:, None]
        return np.asarray(IDLE_W + dynamic_w + own * mean_w, np.float64)
