"""The mains at the rack's inlet: three phases, what six supplies draw from them, as waveforms. Simulated.

208Y/120: the supplies hang from line to line, two on each pair, and do not share the load quite equally. So the phases
differ, and each phase carries reactive power of its own although the supplies' power factor is near one: seen from line
to neutral, a load from A to B leads in A and lags in B. Third harmonics cancel in the lines for the same reason.

Slow quantities are phasors (rms, against the phase of A's source) on a grid of milliseconds; only the last step, in
`waveforms`, makes samples.

Must not know: the server's inside, cycles, the meter's figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.simulation.server import RATING_W

Complex = NDArray[np.complex128]
Floats = NDArray[np.float64]

SAMPLE_RATE_HZ: Final = 32_000
GRID_PER_S: Final = 1000  # knots of the slow quantities
_SAMPLES: Final = SAMPLE_RATE_HZ // GRID_PER_S  # per knot
NOMINAL_HZ: Final = 60.0

_TURN: Final = np.exp(-2j * np.pi / 3 * np.arange(3))[:, None]  # phases A, B, C
_FREQUENCY_HZ: Final = (59.967, 0.008, 15.0)  # mean, sd, correlation time in s
_SOURCE_V: Final = np.array([[120.9], [120.3], [121.2]])  # before the source impedance; unequal as real feeders are
_DRIFT: Final = (0.0015, 60.0)  # of all phases together: relative sd, correlation time in s
_FLICKER: Final = (0.00035, 0.0002)  # cycle to cycle, relative sd: of all phases together, of each alone
_FLICKER_PER_S: Final = 50
_IMPEDANCE_OHM: Final = 0.035 + 0.009j  # transformer and some metres of cable
_SHARES: Final = np.array([[2.08], [2.02], [1.90]]) / 6.0  # of the pairs AB, BC, CA: supplies share to about 5 %
_INPUT_CAPACITANCE_F: Final = 6 * 4e-6 / 3  # per pair; it makes the current lead
_ORDERS: Final = (3, 5, 7)
_BACKGROUND: Final = (0.0025 * np.exp(0.6j), 0.011 * np.exp(0.3j), 0.005 * np.exp(-1.1j))  # of the source, by order
_DISTORTION_FLOOR: Final = 0.03  # current distortion = floor + slope / load
_DISTORTION_SLOPE: Final = 0.012
_DISTORTION_MIX: Final = np.array([0.76, 0.53, 0.376]) * np.exp(1j * np.deg2rad([170.0, 150.0, 130.0]))
_METER_OFFSET_V: Final = np.array([[0.021], [-0.034], [0.012]])
_METER_OFFSET_A: Final = np.array([[0.055], [-0.031], [0.042]])
_METER_NOISE_V: Final = 0.04  # of each sample
_METER_NOISE_A: Final = 0.02


@dataclass(frozen=True, slots=True)
class Waveforms:
    """One second of samples, line to neutral: phases A, B, C in the rows, shape (3, SAMPLE_RATE_HZ)."""

    voltage_v: Floats
    current_a: Floats


class Mains:
    """Source, wiring, supplies' input stage and meter front end. `push` is its only mutator.

    Args:
        random: its own generator.
        ac_w: the load that the mains has stood under so far.
    """

    def __init__(self, random: np.random.Generator, ac_w: float) -> None:
        self._random = random
        self._phase = -0.4  # of phase A's source, radians; the first zero crossing soon follows
        self._frequency_hz = _FREQUENCY_HZ[0]
        self._drift = 0.0
        self._flicker = np.zeros((3, 1))
        self._load_w = np.array([ac_w])
        self._source = _SOURCE_V * _TURN

    def push(self, ac_w: Floats) -> Waveforms:
        """The next second, in which the supplies draw `ac_w`, W, in all: shape (GRID_PER_S,)."""
        source = np.concatenate((self._source, self._next_source()), axis=1)
        load_w = np.concatenate((self._load_w, ac_w))
        self._source, self._load_w = source[:, -1:], load_w[-1:]
        voltage, current = _circuit(source, load_w)
        turn = np.exp(1j * self._next_phase())
        noise = self._random.standard_normal((6, SAMPLE_RATE_HZ), np.float32)
        return Waveforms(
            _samples(voltage, turn) + (_METER_OFFSET_V + _METER_NOISE_V * noise[:3]),
            _samples(current, turn) + (_METER_OFFSET_A + _METER_NOISE_A * noise[3:]),
        )

    def _next_phase(self) -> Floats:
        """Phase of every sample of the next second; the frequency goes in a straight line from knot to knot."""
        mean_hz, sd_hz, tau_s = _FREQUENCY_HZ
        start_hz = self._frequency_hz
        end_hz = mean_hz + _wander(self._random, start_hz - mean_hz, sd_hz, tau_s)
        at_s = np.arange(SAMPLE_RATE_HZ + 1) / SAMPLE_RATE_HZ
        phase = self._phase + 2 * np.pi * at_s * (start_hz + 0.5 * (end_hz - start_hz) * at_s)
        self._frequency_hz, self._phase = end_hz, math.fmod(float(phase[-1]), 2 * math.pi)
        return phase[:-1]

    def _next_source(self) -> Complex:
        """The source's phasors at the next second's knots, shape (3, GRID_PER_S)."""
        before = self._drift
        self._drift = _wander(self._random, before, *_DRIFT)
        drift = np.linspace(before, self._drift, GRID_PER_S + 1)[1:]
        common, own = _FLICKER
        knots = own * self._random.standard_normal((3, _FLICKER_PER_S))
        knots += common * self._random.standard_normal(_FLICKER_PER_S)
        knots = np.concatenate((self._flicker, knots), axis=1)
        self._flicker = knots[:, -1:]
        at = np.arange(1, GRID_PER_S + 1) * (_FLICKER_PER_S / GRID_PER_S)
        flicker = np.stack([np.interp(at, np.arange(_FLICKER_PER_S + 1), row) for row in knots])
        return np.asarray(_SOURCE_V * (1.0 + drift + flicker) * _TURN, np.complex128)


def _circuit(source: Complex, load_w: Floats) -> tuple[dict[int, Complex], dict[int, Complex]]:
    """Voltages and line currents at the inlet, by harmonic order; each of shape (3, knots).

    The supplies are loads of constant power, so their current depends on the very voltage that it lowers. Two rounds
    settle that to 1e-5: the drop is below 1 %.
    """
    voltage = source
    for _ in range(2):
        pairs = voltage - np.roll(voltage, -1, axis=0)  # AB, BC, CA
        drawn = np.conj(_SHARES * load_w / pairs)
        current = drawn + 2j * np.pi * NOMINAL_HZ * _INPUT_CAPACITANCE_F * pairs
        voltage = source - _IMPEDANCE_OHM * _lines(current)
    voltages, currents = {1: voltage}, {1: _lines(current)}

    size = np.abs(drawn) * (_DISTORTION_FLOOR + _DISTORTION_SLOPE * RATING_W / load_w)
    direction = pairs / np.abs(pairs)
    for order, background, mix in zip(_ORDERS, _BACKGROUND, _DISTORTION_MIX, strict=True):
        currents[order] = _lines(size * mix * direction**order)
        open_circuit = np.abs(source) * background * _TURN**order
        impedance = _IMPEDANCE_OHM.real + 1j * order * _IMPEDANCE_OHM.imag
        voltages[order] = open_circuit - impedance * currents[order]
    return voltages, currents


def _lines(pairs: Complex) -> Complex:
    """Line currents A, B, C from those of the pairs AB, BC, CA."""
    return np.asarray(pairs - np.roll(pairs, 1, axis=0), np.complex128)


def _samples(phasors: dict[int, Complex], turn: Complex) -> Floats:
    """The instantaneous values of phasors on n + 1 knots: shape (3, n x _SAMPLES). `turn` is exp(j phase).

    Powers of `turn` by multiplication: a sine per sample and order would take most of the time.
    """
    ramp = np.arange(_SAMPLES) / _SAMPLES
    values = np.zeros((3, turn.size))
    powers, reached = turn, 1
    for order, phasor in phasors.items():
        while reached < order:
            powers, reached = powers * turn, reached + 1
        start, slope = phasor[:, :-1, None], np.diff(phasor, axis=1)[:, :, None]
        values += (start.real + slope.real * ramp).reshape(3, -1) * powers.real
        values -= (start.imag + slope.imag * ramp).reshape(3, -1) * powers.imag
    return np.asarray(math.sqrt(2.0) * values, np.float64)


def _wander(random: np.random.Generator, value: float, sd: float, tau_s: float) -> float:
    """An Ornstein-Uhlenbeck process around zero, one second on."""
    kept = math.exp(-1.0 / tau_s)
    return kept * value + math.sqrt(1.0 - kept * kept) * sd * float(random.standard_normal())
