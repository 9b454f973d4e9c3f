"""The exact vectors of IEEE 1459 and IEC 61000-4-30, asked of waveforms built sample by sample."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.electrical import CycleFigures, aggregate_rms, cycle_figures, power_factor, three_phase
from pipeline.core.model import QUANTITIES

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "electrical.json").read_text())
SINGLE = VECTORS["single_phase_ieee1459"]
THREE = VECTORS["three_phase"] + VECTORS["line_to_line_psu_208"]
NAMES = {
    "rms_voltage": "rms_voltage_v",
    "rms_current": "rms_current_a",
    "dc_offset_voltage": "dc_offset_voltage_v",
    "dc_offset_current": "dc_offset_current_a",
    "real_power": "real_power_w",
    "apparent_power": "apparent_power_va",
    "Q1": "reactive_power_var",
    "power_factor": "power_factor",
}
MAINS_HZ, RATE_HZ = 59.97, 32_000.0  # 533.6 samples to the cycle


def wave(phase: np.ndarray, harmonics: dict[str, list[float]], dc: float = 0.0) -> np.ndarray:
    parts = [
        np.sqrt(2) * rms * np.cos(int(order) * phase + np.deg2rad(degrees))
        for order, (rms, degrees) in harmonics.items()
    ]
    return dc + np.sum(parts, axis=0)


def grid(samples_per_cycle: float, start: float, cycles: int) -> tuple[np.ndarray, np.ndarray]:
    """(phase of every sample, bounds in samples)."""
    bounds = start + samples_per_cycle * np.arange(cycles + 1)
    return 2 * np.pi * (np.arange(int(bounds[-1]) + 2) - start) / samples_per_cycle, bounds


def single(vector: dict[str, Any], samples_per_cycle: float, start: float) -> CycleFigures:
    phase, bounds = grid(samples_per_cycle, start, 4)
    return cycle_figures(
        wave(phase, vector["harmonics_V_rms_deg"], vector["dc_V"]),
        wave(phase, vector["harmonics_I_rms_deg"], vector["dc_A"]),
        bounds,
    )


@pytest.mark.parametrize("vector", SINGLE, ids=lambda vector: vector["name"])
class TestSinglePhase:
    def test_cycles_of_whole_samples_are_exact(self, vector: dict[str, Any]) -> None:
        figures = single(vector, 512.0, 0.0)
        for name, column in NAMES.items():
            np.testing.assert_allclose(getattr(figures, column), vector["expect"][name], rtol=1e-11, atol=1e-9)

    @pytest.mark.parametrize("start", [0.0, 0.37, 100.999])
    def test_cycles_of_533_6_samples_within_two_ppm(self, vector: dict[str, Any], start: float) -> None:
        # What is left is the curvature of the highest harmonic between two samples at the ends of the cycle.
        figures = single(vector, RATE_HZ / MAINS_HZ, start)
        expect = vector["expect"]
        scales = {"real_power": expect["apparent_power"], "Q1": expect["apparent_power"], "power_factor": 1.0}
        for name, column in NAMES.items():
            scale = scales.get(name, expect[f"rms_{'current' if 'current' in name else 'voltage'}"])
            if name == "apparent_power":
                scale = expect[name]
            np.testing.assert_allclose(getattr(figures, column), expect[name], rtol=0, atol=2e-6 * scale)

    def test_reversing_the_sensor_turns_the_power_round(self, vector: dict[str, Any]) -> None:
        phase, bounds = grid(512.0, 0.0, 2)
        voltage = wave(phase, vector["harmonics_V_rms_deg"], vector["dc_V"])
        current = wave(phase, vector["harmonics_I_rms_deg"], vector["dc_A"])
        one, other = cycle_figures(voltage, current, bounds), cycle_figures(voltage, -current, bounds)
        np.testing.assert_array_equal(one.real_power_w, -other.real_power_w)
        np.testing.assert_array_equal(one.apparent_power_va, other.apparent_power_va)


@pytest.mark.parametrize("vector", THREE, ids=lambda vector: vector["name"])
@pytest.mark.parametrize("samples_per_cycle", [512.0, RATE_HZ / MAINS_HZ])
def test_three_phases(vector: dict[str, Any], samples_per_cycle: float) -> None:
    phase, bounds = grid(samples_per_cycle, 0.25, 3)
    voltage = np.stack([wave(phase, {"1": phasor}) for phasor in vector["V_rms_deg"]])
    current = np.stack([wave(phase, {"1": phasor}) for phasor in vector["I_rms_deg"]])
    figures = cycle_figures(voltage, current, bounds)
    expect = vector["expect"]
    tolerance_w = 2e-6 * sum(expect["S_phase"])
    for name, got in [
        ("P_phase", figures.real_power_w),
        ("Q_phase", figures.reactive_power_var),
        ("S_phase", figures.apparent_power_va),
    ]:
        wanted = np.asarray(expect[name])[:, None]
        np.testing.assert_allclose(got, np.broadcast_to(wanted, got.shape), atol=tolerance_w)
    together = three_phase(figures.real_power_w, figures.reactive_power_var)
    np.testing.assert_allclose(together.real_power_w, expect["P_total"], atol=tolerance_w)
    np.testing.assert_allclose(together.reactive_power_var, expect["Q_total"], atol=tolerance_w)
    np.testing.assert_allclose(together.apparent_power_va, expect["S_vector"], atol=tolerance_w)
    np.testing.assert_allclose(together.power_factor, expect["PF_vector"], atol=1e-6)


def test_half_wave_rms_includes_its_dc() -> None:
    vector = VECTORS["half_wave"]
    phase, bounds = grid(8192.0, 0.0, 2)
    current = np.maximum(vector["i_peak"] * np.sin(phase), 0.0)
    figures = cycle_figures(np.full_like(current, 120.0), current, bounds)
    np.testing.assert_allclose(figures.rms_current_a, vector["expect_rms"], rtol=1e-7)
    np.testing.assert_allclose(figures.dc_offset_current_a, vector["expect_dc"], rtol=1e-7)


def test_constant_dc() -> None:
    figures = cycle_figures(np.full(100, -2.5), np.full(100, 4.0), [0.5, 40.25, 98.75])
    np.testing.assert_allclose(figures.rms_voltage_v, 2.5)
    np.testing.assert_allclose(figures.dc_offset_voltage_v, -2.5)
    np.testing.assert_allclose(figures.real_power_w, -10.0)
    np.testing.assert_allclose(figures.power_factor, -1.0)
    np.testing.assert_allclose(figures.reactive_power_var, 0.0, atol=0.05)  # 39.75 samples leave a trace of cos


@pytest.mark.parametrize("vector", VECTORS["aggregation_rms"])
def test_rms_values_aggregate_by_their_squares(vector: dict[str, Any]) -> None:
    assert aggregate_rms(vector["values"]) == pytest.approx(vector["expect_rms"], rel=1e-14)
    assert abs(float(aggregate_rms(vector["values"])) - vector["arithmetic_mean_wrong"]) > 0.1


def test_aggregating_cycles_gives_the_rms_of_the_whole() -> None:
    phase, bounds = grid(256.0, 0.0, 12)
    voltage = wave(phase, {"1": [120.0, 0.0]}) * np.where(phase < 11 * 2 * np.pi, 1.0, 0.5)
    whole = np.sqrt(np.mean(voltage[: 12 * 256] ** 2))
    assert aggregate_rms(cycle_figures(voltage, voltage, bounds).rms_voltage_v) == pytest.approx(whole, rel=1e-3)


def test_power_factor_of_nothing_is_unknown() -> None:
    np.testing.assert_array_equal(power_factor([0.0, 1e-9, 5.0], [0.0, 1e-9, 10.0]), [np.nan, np.nan, 0.5])
    phase, bounds = grid(512.0, 0.0, 1)
    voltage = wave(phase, {"1": [120.0, 0.0]})
    assert np.isnan(cycle_figures(voltage, np.zeros_like(voltage), bounds).power_factor).all()


def test_an_unknown_phase_makes_the_sum_unknown() -> None:
    together = three_phase([[1.0, 1.0], [2.0, np.nan], [3.0, 3.0]], [[0.0, 0.0]] * 3)
    np.testing.assert_array_equal(together.real_power_w, [6.0, np.nan])
    np.testing.assert_array_equal(together.power_factor, [1.0, np.nan])


def test_cycles_do_not_depend_on_how_they_were_batched() -> None:
    phase, bounds = grid(RATE_HZ / MAINS_HZ, 0.37, 6)
    voltage, current = wave(phase, {"1": [120.0, 0.0]}), wave(phase, {"1": [30.0, 20.0], "5": [2.0, 0.0]})
    whole = cycle_figures(voltage, current, bounds)
    first = int(bounds[3])
    rest = cycle_figures(voltage[first:], current[first:], bounds[3:] - first)
    for column in NAMES.values():
        np.testing.assert_allclose(getattr(whole, column)[3:], getattr(rest, column), rtol=1e-12, atol=1e-9)


def test_the_last_bound_may_be_the_last_sample() -> None:
    samples = np.arange(11.0)
    figures = cycle_figures(samples, samples, [0.0, 10.0])
    assert figures.dc_offset_voltage_v.tolist() == [5.0]


@pytest.mark.parametrize(
    ("voltage", "current", "bounds", "message"),
    [
        (np.zeros(9), np.zeros(8), [0, 4], "one shape"),
        (np.zeros(9), np.zeros(9), [0], "at least one cycle"),
        (np.zeros(9), np.zeros(9), [4, 4.5], "at least one sample"),
        (np.zeros(9), np.zeros(9), [4, np.nan], "at least one sample"),
        (np.zeros(9), np.zeros(9), [-1, 4], "beyond"),
        (np.zeros(9), np.zeros(9), [0, 8.1], "beyond"),
    ],
)
def test_what_cannot_be_computed_is_refused(
    voltage: np.ndarray, current: np.ndarray, bounds: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        cycle_figures(voltage, current, bounds)


def test_figures_are_the_quantities_of_the_model_in_its_order() -> None:
    assert [field.name for field in fields(CycleFigures)] == [quantity.column for quantity in QUANTITIES]
