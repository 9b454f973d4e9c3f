"""The arithmetic of AC power: from sampled waveforms to the figures of each cycle, as IEEE 1459 defines them.

A cycle is hardly ever a whole number of samples (533.6 of them at 59.97 Hz and 32 kS/s), so a mean over a cycle is the
exact integral of the straight lines between the samples, from one fractional position to the next. All weights of that
integral are positive; that is why |P| <= S holds for every input and not only for sines.

Must not know: state, wall time, which stream or channel it works for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

NEGLIGIBLE_VA: Final = 1e-6  # below any meter's resolution: P/S would be the ratio of two rounding errors


@dataclass(frozen=True, slots=True)
class CycleFigures:
    """One array per quantity of the model, in its order. Shape (..., n): the waveforms' leading axes, then n cycles."""

    rms_voltage_v: Floats
    dc_offset_voltage_v: Floats
    rms_current_a: Floats
    dc_offset_current_a: Floats
    real_power_w: Floats
    apparent_power_va: Floats
    reactive_power_var: Floats  # Q1, of the fundamental alone; positive when the current lags
    power_factor: Floats  # P/S with the sign of P; NaN where S is negligible


@dataclass(frozen=True, slots=True)
class ThreePhase:
    """The three phases of a circuit taken together; each array has the shape of one phase's figures."""

    real_power_w: Floats
    reactive_power_var: Floats
    apparent_power_va: Floats  # the vector one, sqrt(P^2 + Q^2): neither distortion nor unbalance is in it
    power_factor: Floats  # NaN where the apparent power is negligible


def cycle_figures(voltage_v: ArrayLike, current_a: ArrayLike, bounds: ArrayLike) -> CycleFigures:
    """The figures of n consecutive cycles, after IEEE 1459-2010 section 3.1.

    Args:
        voltage_v: evenly spaced samples, shape (..., m).
        current_a: samples at the same instants, the same shape.
        bounds: the cycles' ends as positions in samples, shape (n + 1,), rising by at least one sample each. A
            position need not be whole. Sample `floor(bounds[-1]) + 1` is needed too, unless `bounds[-1]` is m - 1.

    Raises:
        ValueError: shapes differ, bounds do not rise, or they reach beyond the samples.
    """
    voltage = np.asarray(voltage_v, np.float64)
    current = np.asarray(current_a, np.float64)
    ends = np.asarray(bounds, np.float64)
    _validate(voltage, current, ends)
    cosine, sine = _reference(voltage.shape[-1], ends)

    # The mean of the product with a unit-amplitude reference is half the amplitude: rms phasor = sqrt(2) x mean.
    v_in, v_quad, i_in, i_quad = (
        np.sqrt(2.0) * _cycle_means(signal * reference, ends)
        for signal in (voltage, current)
        for reference in (cosine, sine)
    )
    # A sum of squares is not negative; its rounding error can be, where the signal dies within a sample.
    rms_voltage = np.sqrt(np.maximum(_cycle_means(voltage * voltage, ends), 0.0))
    rms_current = np.sqrt(np.maximum(_cycle_means(current * current, ends), 0.0))
    real_power = _cycle_means(voltage * current, ends)
    apparent_power = rms_voltage * rms_current
    return CycleFigures(
        rms_voltage_v=rms_voltage,
        dc_offset_voltage_v=_cycle_means(voltage, ends),
        rms_current_a=rms_current,
        dc_offset_current_a=_cycle_means(current, ends),
        real_power_w=real_power,
        apparent_power_va=apparent_power,
        reactive_power_var=v_in * i_quad - v_quad * i_in,  # Im(V1 I1*) with phasor = in - j quad
        power_factor=power_factor(real_power, apparent_power),
    )


def power_factor(real_power_w: ArrayLike, apparent_power_va: ArrayLike) -> Floats:
    """P/S within [-1, 1], with the sign of P. NaN where S is negligible: nothing flows, so nothing can be said."""
    real = np.asarray(real_power_w, np.float64)
    apparent = np.asarray(apparent_power_va, np.float64)
    ratio = np.full(np.broadcast_shapes(real.shape, apparent.shape), np.nan)
    np.divide(real, apparent, out=ratio, where=apparent > NEGLIGIBLE_VA)
    return np.clip(ratio, -1.0, 1.0)  # what is clipped is rounding: |P| <= S


def three_phase(real_power_w: ArrayLike, reactive_power_var: ArrayLike) -> ThreePhase:
    """Sums over the first axis, the phases. A phase that is unknown (NaN) makes the sum unknown.

    The power factor is that of the sums; the mean of the phases' power factors has no physical meaning.
    """
    real = np.sum(np.asarray(real_power_w, np.float64), axis=0)
    reactive = np.sum(np.asarray(reactive_power_var, np.float64), axis=0)
    apparent = np.hypot(real, reactive)
    return ThreePhase(real, reactive, apparent, power_factor(real, apparent))


def aggregate_rms(values: ArrayLike, axis: int = -1) -> Floats:
    """The rms over a longer interval from those of equal parts: the root of the mean square (IEC 61000-4-30, 4.5).

    The arithmetic mean would understate it. Unknown (NaN) parts make the whole unknown.
    """
    parts = np.asarray(values, np.float64)
    return np.asarray(np.sqrt(np.mean(parts * parts, axis=axis)), np.float64)


def _validate(voltage: Floats, current: Floats, ends: Floats) -> None:
    if voltage.shape != current.shape or voltage.ndim < 1:
        raise ValueError(f"voltage {voltage.shape} and current {current.shape} must have one shape")
    if ends.ndim != 1 or ends.size < 2:
        raise ValueError("bounds must hold the ends of at least one cycle")
    if not np.all(np.diff(ends) >= 1.0):
        raise ValueError("bounds must rise by at least one sample per cycle")
    if ends[0] < 0.0 or ends[-1] > voltage.shape[-1] - 1:
        raise ValueError(f"bounds {ends[0]:g} ... {ends[-1]:g} reach beyond samples 0 ... {voltage.shape[-1] - 1}")


def _reference(samples: int, ends: Floats) -> tuple[Floats, Floats]:
    """Cosine and sine of each cycle's own phase, which is 0 at its start and 2 pi at its end; shape (samples,)."""
    # One more knot at either side, so that the samples just outside the bounds get a phase too.
    knots = np.concatenate(([2 * ends[0] - ends[1]], ends, [2 * ends[-1] - ends[-2]]))
    turns = np.interp(np.arange(samples), knots, np.arange(-1.0, ends.size + 1.0))
    return np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)


def _cycle_means(signal: Floats, ends: Floats) -> Floats:
    """The mean of the piecewise linear signal over each cycle: (..., m) samples to (..., n) means."""
    whole = np.floor(ends).astype(np.intp)
    part = ends - whole
    here, there = signal[..., whole], signal[..., np.minimum(whole + 1, signal.shape[-1] - 1)]
    # Trapezoids from the sample at or before the start to that at or before the end, then the two ragged ends.
    sums = np.add.reduceat(signal[..., : whole[-1]], whole[:-1], axis=-1)
    trapezoids = sums + 0.5 * (here[..., 1:] - here[..., :-1])
    ragged = part * here + 0.5 * part * part * (there - here)
    return np.asarray((trapezoids + ragged[..., 1:] - ragged[..., :-1]) / np.diff(ends), np.float64)
