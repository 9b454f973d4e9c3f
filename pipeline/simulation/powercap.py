"""A GPU's power cap: a regulator that slows the clock until the board's draw meets the limit. Simulated.

No vendor publishes how fast it acts. Assumed: a command takes effect after 10 to 50 ms, the draw settles within some
0.1 s with an overshoot of 2 to 5 %, and the clock comes back more slowly than it went.

Must not know: what the GPU computes, or how fast it computes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import numpy as np

IDLE_W: Final = 137.0  # B200, air cooled, measured at 28 C (SemiAnalysis, ROCm issue 5219)
RATED_W: Final = 1000.0  # the limit when nobody set a lower one
EXPONENT: Final = 2.6  # dynamic power ~ clock x voltage^2, and the voltage follows most of the way
_SLOWEST: Final = 0.30  # of the full clock; the regulator goes no lower
# Under a low cap, no clock at which full load would draw more than so many times the limit's dynamic part.
_GUARD: Final = 2.4
_CLOCK_STEPS: Final = 262  # 7.5 MHz of 1965 MHz: real clocks move in steps
_LATENCY_S: Final = (0.010, 0.050)
_MEASURE_TAU_S: Final = 0.020
_APPLY_TAU_S: Final = 0.050
_RELEASE_TAU_S: Final = 0.160
SENSOR_ERROR: Final = 0.03  # relative error of the board's own reading, which makes it hunt around the limit ...
_SENSOR_TAU_S: Final = 0.12  # ... this slowly


class PowerCap:
    """The clock that a cap allows, as a fraction of the full one. `step` is its only mutator.

    Args:
        commands: (moment in s, limit in W per GPU), by moment; an infinite limit takes the cap away.
        random: draws each command's latency and the sensor's error.
        step_s: time between two steps.
        sensor_error: its standard deviation, relative.
    """

    def __init__(
        self,
        commands: Iterable[tuple[float, float]],
        random: np.random.Generator,
        step_s: float,
        sensor_error: float = SENSOR_ERROR,
    ) -> None:
        self._pending = [
            (at_s + float(random.uniform(*_LATENCY_S)) if at_s > 0 else 0.0, min(limit_w, RATED_W))
            for at_s, limit_w in commands
        ][::-1]
        self._random = random
        self._step_s = step_s
        self._kept = math.exp(-step_s / _SENSOR_TAU_S)
        self._fresh = math.sqrt(1.0 - self._kept**2) * sensor_error
        self._error = 0.0
        self._measured_w = IDLE_W
        self._exact = 1.0
        self._ceiling = 1.0
        self.limit_w = RATED_W
        self.clock = 1.0

    def step(self, now_s: float, power_w: float) -> float:
        """Regulate once, given the board's draw, and return the new clock."""
        while self._pending and self._pending[-1][0] <= now_s:
            self.limit_w = self._pending.pop()[1]
            guarded = _GUARD * (self.limit_w - IDLE_W) / (RATED_W - IDLE_W)
            self._ceiling = min(1.0, guarded ** (1.0 / EXPONENT))
        self._error = self._kept * self._error + self._fresh * self._random.standard_normal()
        reading_w = power_w * (1.0 + self._error)
        self._measured_w += (reading_w - self._measured_w) * (self._step_s / _MEASURE_TAU_S)
        if self._exact < 1.0 or self._measured_w > self.limit_w or self._ceiling < 1.0:
            # The dynamic part of the draw is what the clock can change.
            excess = max(self._measured_w - IDLE_W, 1.0) / (self.limit_w - IDLE_W)
            if excess > 1.0:
                self._exact *= excess ** (-self._step_s / (_APPLY_TAU_S * EXPONENT))
            elif self._exact > self._ceiling:
                self._exact = max(self._ceiling, self._exact * (1.0 - self._step_s / _APPLY_TAU_S))
            else:
                self._exact = min(self._ceiling, self._exact * excess ** (-self._step_s / (_RELEASE_TAU_S * EXPONENT)))
            self._exact = max(_SLOWEST, self._exact)
            self.clock = round(self._exact * _CLOCK_STEPS) / _CLOCK_STEPS
        return self.clock

    def draw_w(self, demand_w: float) -> float:
        """What a board draws at the present clock when it would draw `demand_w` at the full one."""
        if self.clock == 1.0:
            return demand_w
        return IDLE_W + (demand_w - IDLE_W) * math.pow(self.clock, EXPONENT)
