"""The server around the GPUs, and its power supplies: from GPU power to AC power. Simulated.

Modelled on a DGX B200: eight GPUs, six supplies of 3.3 kW. What the rest of it draws is an assumption, checked against
one figure: all GPUs at 1 kW give 11.7 kW AC, the same 82 % of the rated maximum as measured on the H100 generation
(arXiv 2412.08602).

Must not know: what the GPUs compute, mains voltage, phases.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RATING_W: Final = 6 * 3300.0
_BASE_W: Final = 1218.0  # processors, memory, drives, network cards at rest
_FOLLOWING: Final = 0.13  # per W of GPU: NVSwitch, links, memory, conversion on the boards
_FAN_FULL_W: Final = 942.0  # at full speed; cubic below: 5 to 9 % of the server's power, as air-cooled ones use
_FAN_TAU_S: Final = 30.0  # the fans follow the GPUs' temperature
_FAN_SPEED: Final = ((1096.0, 2400.0, 4800.0, 8000.0), (0.53, 0.73, 0.84, 1.0))  # GPU power W -> share of full speed
_LOSS: Final = (0.01144, -0.00681, 0.05338)  # of the rating, by powers of the load: 80 PLUS Titanium, 90/94/96 %
_PFC_TAU_S: Final = 0.012  # the supplies' input follows their output over about one cycle


def supply_loss_w(dc_w: Floats) -> Floats:
    """What the supplies turn into heat when they deliver `dc_w` in all; any shape."""
    load = dc_w / RATING_W
    return np.asarray(RATING_W * (_LOSS[0] + load * (_LOSS[1] + load * _LOSS[2])), np.float64)


def first_order(values: Floats, before: float, step_s: float, tau_s: float) -> Floats:
    """The response of a first-order lag to evenly spaced values, shape (n,), that stood at `before`.

    In closed form: a sum weighted by exp(k step / tau). That must not overflow, so n steps may span 600 tau at most.
    """
    decay = np.exp(-step_s / tau_s * np.arange(1, values.size + 1))
    return np.asarray(decay * (before + np.cumsum(values / decay) * (1.0 - decay[0])), np.float64)


class Server:
    """The server's slow states: fan speed and the supplies' input. `push` is its only mutator.

    Args:
        step_s: time between two values.
        gpu_w: total power of the GPUs at which the server has stood long enough to be in balance.
    """

    def __init__(self, step_s: float, gpu_w: float) -> None:
        self._step_s = step_s
        self._warmth_w = gpu_w  # GPU power as the heat sinks feel it
        self.ac_w = float(self._ac_target_w(np.array([gpu_w]), np.array([gpu_w]))[0])  # drawn last

    def push(self, gpu_w: Floats) -> Floats:
        """AC power, W, at the same instants as the GPUs' total power; both of shape (n,)."""
        warmth_w = first_order(gpu_w, self._warmth_w, self._step_s, _FAN_TAU_S)
        target_w = self._ac_target_w(gpu_w, warmth_w)
        ac_w = first_order(target_w, self.ac_w, self._step_s, _PFC_TAU_S)
        self._warmth_w, self.ac_w = float(warmth_w[-1]), float(ac_w[-1])
        return ac_w

    @staticmethod
    def _ac_target_w(gpu_w: Floats, warmth_w: Floats) -> Floats:
        fans_w = _FAN_FULL_W * np.interp(warmth_w, *_FAN_SPEED) ** 3
        dc_w = gpu_w * (1.0 + _FOLLOWING) + _BASE_W + fans_w
        return np.asarray(dc_w + supply_loss_w(dc_w), np.float64)
