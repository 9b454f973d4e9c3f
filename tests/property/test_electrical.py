"""What holds for every waveform, sine or not."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.core.electrical import CycleFigures, aggregate_rms, cycle_figures

SAMPLES = 48
levels = st.floats(-1e4, 1e4, allow_nan=False, width=32)
signals = hnp.arrays(np.float64, SAMPLES, elements=levels)
starts = st.floats(0.0, 5.0)
lengths = st.lists(st.floats(1.5, 10.0), min_size=1, max_size=4)
factors = st.floats(1e-3, 1e3)


def figures(voltage: np.ndarray, current: np.ndarray, start: float, steps: list[float]) -> CycleFigures:
    return cycle_figures(voltage, current, start + np.concatenate(([0.0], np.cumsum(steps))))


@given(signals, signals, starts, lengths)
def test_real_power_never_exceeds_apparent_power(
    voltage: np.ndarray, current: np.ndarray, start: float, steps: list[float]
) -> None:
    got = figures(voltage, current, start, steps)
    # Rounding: of a mean square 1e-16 of the largest square, of an rms the root of that.
    peak_v, peak_a = np.abs(voltage).max(), np.abs(current).max()
    assert (np.abs(got.real_power_w) <= got.apparent_power_va + 1e-7 * peak_v * peak_a).all()
    assert (np.abs(got.dc_offset_voltage_v) <= got.rms_voltage_v + 1e-7 * peak_v).all()
    known = got.power_factor[~np.isnan(got.power_factor)]
    assert (np.abs(known) <= 1.0).all()
    assert (np.isnan(got.power_factor) == (got.apparent_power_va <= 1e-6)).all()


@given(signals, signals, starts, lengths, factors, factors)
def test_scaling_the_waveforms_scales_the_figures(
    voltage: np.ndarray, current: np.ndarray, start: float, steps: list[float], k_v: float, k_i: float
) -> None:
    one, other = figures(voltage, current, start, steps), figures(k_v * voltage, k_i * current, start, steps)
    np.testing.assert_allclose(other.rms_voltage_v, k_v * one.rms_voltage_v, rtol=1e-6, atol=1e-3 * k_v)
    np.testing.assert_allclose(other.rms_current_a, k_i * one.rms_current_a, rtol=1e-6, atol=1e-3 * k_i)
    power = k_v * k_i
    np.testing.assert_allclose(other.real_power_w, power * one.real_power_w, rtol=1e-6, atol=1e-3 * power)
    np.testing.assert_allclose(other.reactive_power_var, power * one.reactive_power_var, rtol=1e-6, atol=1e-3 * power)


@given(signals, signals, starts, lengths)
def test_reversing_the_current_reverses_the_powers(
    voltage: np.ndarray, current: np.ndarray, start: float, steps: list[float]
) -> None:
    one, other = figures(voltage, current, start, steps), figures(voltage, -current, start, steps)
    np.testing.assert_array_equal(other.real_power_w, -one.real_power_w)
    np.testing.assert_array_equal(other.reactive_power_var, -one.reactive_power_var)
    np.testing.assert_array_equal(other.dc_offset_current_a, -one.dc_offset_current_a)
    np.testing.assert_array_equal(other.rms_current_a, one.rms_current_a)
    np.testing.assert_array_equal(other.power_factor, -one.power_factor)


@given(signals, signals, starts, lengths)
def test_energy_adds_over_adjacent_cycles(
    voltage: np.ndarray, current: np.ndarray, start: float, steps: list[float]
) -> None:
    parts = figures(voltage, current, start, steps)
    whole = figures(voltage, current, start, [float(np.sum(steps))])
    np.testing.assert_allclose(np.dot(parts.real_power_w, steps), whole.real_power_w[0] * np.sum(steps), atol=1e-3)


@given(hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(0.0, 1e4)))
def test_an_aggregated_rms_lies_between_the_mean_and_the_greatest(values: np.ndarray) -> None:
    rms = float(aggregate_rms(values))
    assert values.mean() - 1e-9 <= rms * (1 + 1e-12)
    assert rms <= values.max() * (1 + 1e-12)
