"""Is the simulated server physically plausible, reproducible, and what the committed files hold?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.adapters.recordings import read
from pipeline.core.electrical import three_phase
from pipeline.core.model import STREAMS, value_columns
from pipeline.simulation.mains import SAMPLE_RATE_HZ, Mains
from pipeline.simulation.meter import CycleMeter, rising_zero_crossings
from pipeline.simulation.powercap import IDLE_W, PowerCap
from pipeline.simulation.requests import LEAD_IN_S, LIMIT_PER_MINUTE, Arrivals
from pipeline.simulation.scenarios import SCENARIOS, START_MS, Scenario, blocks, gpu_workload, simulate
from pipeline.simulation.server import RATING_W, Server, first_order, supply_loss_w

DATASETS = Path(__file__).parents[2] / "datasets"
STEP_S = 1e-3
SAMPLE1, SAMPLE2, SAMPLE3, SAMPLE4 = SCENARIOS


def column(table: pa.Table, name: str) -> np.ndarray:
    """Shape (frames, streams)."""
    return table[name].to_numpy().reshape(-1, len(STREAMS))


def seconds(table: pa.Table) -> np.ndarray:
    return (column(table, "time_ms")[:, 0] - START_MS) / 1000.0


def total_w(table: pa.Table) -> np.ndarray:
    return column(table, "a_real_power_w").sum(axis=1)


@pytest.fixture(scope="module")
def uncapped() -> pa.Table:
    return simulate(SAMPLE1)


@pytest.fixture(scope="module")
def cycling() -> pa.Table:
    return simulate(SAMPLE3, duration_s=180.0)


class TestRequests:
    def test_never_more_than_the_limit_in_any_minute(self) -> None:
        for seed in range(5):
            arrivals = Arrivals(np.random.default_rng(seed), 1e9)
            counts = [len(arrivals.next_second()) for _ in range(600)]
            rolling = np.convolve(counts, np.ones(60), "valid")
            assert rolling.max() <= LIMIT_PER_MINUTE
            assert rolling.max() > 0.6 * LIMIT_PER_MINUTE

    def test_counts_are_burstier_than_poisson(self) -> None:
        arrivals = Arrivals(np.random.default_rng(1), 1e9)
        counts = np.array([len(arrivals.next_second()) for _ in range(1800)])[30:]
        assert counts.var() / counts.mean() > 3.0

    def test_nobody_asks_before_the_start_or_after_the_end(self) -> None:
        arrivals = Arrivals(np.random.default_rng(1), 30.0)
        requests = [request for _ in range(60) for request in arrivals.next_second()]
        moments = [request.arrival_s for request in requests]
        assert moments == sorted(moments)
        assert moments[0] >= LEAD_IN_S
        assert moments[-1] < 30.0
        assert all(request.prompt_tokens > 0 and request.answer_tokens > 0 for request in requests)


class TestPowerCap:
    @pytest.mark.parametrize(("demand_w", "limit_w"), [(930.0, 600.0), (930.0, 300.0), (600.0, 300.0)])
    def test_settles_on_the_limit_with_a_small_overshoot(self, demand_w: float, limit_w: float) -> None:
        cap = PowerCap([(1.0, limit_w), (3.0, np.inf)], np.random.default_rng(3), STEP_S, sensor_error=0.0)
        board_w, trace = IDLE_W, []
        for step in range(5000):
            board_w += (cap.draw_w(demand_w) - board_w) / 3.0
            cap.step(step * STEP_S, board_w)
            trace.append(board_w)
        power_w = np.array(trace)
        step_w = demand_w - limit_w
        np.testing.assert_allclose(power_w[1010], demand_w, rtol=0.01)  # the command is still on its way
        assert np.abs(power_w[1300:3000] - limit_w).max() < 0.02 * step_w
        overshoot = (limit_w - power_w[1000:3000].min()) / step_w
        assert 0.01 < overshoot < 0.05
        fallen = np.argmax(power_w[1000:3000] < limit_w + 0.1 * step_w)
        risen = np.argmax(power_w[3000:] > demand_w - 0.1 * step_w)
        assert risen > fallen  # release is slower
        np.testing.assert_allclose(power_w[-1], demand_w, rtol=0.01)

    def test_an_inactive_cap_leaves_the_clock_alone(self) -> None:
        cap = PowerCap([(0.0, 900.0)], np.random.default_rng(0), STEP_S, sensor_error=0.0)
        assert {cap.step(step * STEP_S, 800.0) for step in range(1000)} == {1.0}
        assert cap.draw_w(800.0) == 800.0


class TestGpus:
    @pytest.mark.parametrize("scenario", [SAMPLE1, SAMPLE2])
    def test_all_eight_move_together(self, scenario: Scenario) -> None:
        workload = gpu_workload(scenario)
        power_w = np.concatenate([workload.next_second() for _ in range(45)], axis=1)[:, 20_000:]
        correlation = np.corrcoef(power_w)
        assert correlation.min() >= 0.95
        assert correlation[~np.eye(8, dtype=bool)].max() < 1.0

    def test_idle_serving_and_peak(self) -> None:
        workload = gpu_workload(SAMPLE1)
        power_w = np.concatenate([workload.next_second() for _ in range(180)], axis=1)
        np.testing.assert_allclose(power_w[:, :4000].mean(axis=1), IDLE_W, rtol=0.02)
        assert 680.0 < power_w[:, 25_000:].mean() < 760.0
        per_cycle_w = power_w.mean(axis=0).reshape(-1, 16).mean(axis=1)
        assert 940.0 < per_cycle_w.max() < 1050.0
        assert np.percentile(per_cycle_w[1600:], 5) < 500.0  # decode alone draws little

    def test_a_binding_cap_makes_the_queue_grow(self) -> None:
        free, capped = gpu_workload(SAMPLE1), gpu_workload(SAMPLE2)
        waiting = []
        for _ in range(120):
            free.next_second()
            capped.next_second()
            waiting.append((free.waiting, capped.waiting))
        mean_free, mean_capped = np.mean(waiting, axis=0)
        assert mean_capped > 1.5 * mean_free


class TestServer:
    @pytest.mark.parametrize(
        ("gpu_w", "ac_w"), [(137.0, 2800.0), (300.0, 4500.0), (600.0, 7500.0), (720.0, 8700.0), (1000.0, 11_700.0)]
    )
    def test_operating_points(self, gpu_w: float, ac_w: float) -> None:
        server = Server(STEP_S, 8 * gpu_w)
        np.testing.assert_allclose(server.ac_w, ac_w, rtol=0.02)
        np.testing.assert_allclose(server.push(np.full(1000, 8 * gpu_w)), server.ac_w, rtol=1e-9)

    @pytest.mark.parametrize(("load", "efficiency"), [(0.1, 0.90), (0.2, 0.94), (0.5, 0.96), (1.0, 0.945)])
    def test_efficiency_is_that_of_titanium_supplies(self, load: float, efficiency: float) -> None:
        delivered_w = np.array([load * RATING_W])
        np.testing.assert_allclose(delivered_w / (delivered_w + supply_loss_w(delivered_w)), efficiency, atol=0.003)

    def test_a_lag_is_a_lag_however_it_is_cut(self) -> None:
        step = np.ones(600)
        whole = first_order(step, 0.0, STEP_S, 0.012)
        np.testing.assert_allclose(whole, 1.0 - np.exp(-np.arange(1, 601) * STEP_S / 0.012), atol=1e-12)
        head = first_order(step[:250], 0.0, STEP_S, 0.012)
        tail = first_order(step[250:], float(head[-1]), STEP_S, 0.012)
        np.testing.assert_allclose(np.concatenate((head, tail)), whole, rtol=1e-12)


class TestMeter:
    def test_sees_what_the_supplies_draw(self) -> None:
        mains, meter = Mains(np.random.default_rng(0), 8700.0), CycleMeter()
        waveforms = mains.push(np.full(1000, 8700.0))
        cycles = meter.push(waveforms.voltage_v, waveforms.current_a)
        assert cycles is not None
        figures = three_phase(cycles.figures.real_power_w, cycles.figures.reactive_power_var)
        np.testing.assert_allclose(figures.real_power_w, 8700.0, rtol=0.002)
        assert (figures.reactive_power_var < -300.0).all()  # the input capacitors lead

    def test_does_not_depend_on_how_samples_arrive(self) -> None:
        mains = Mains(np.random.default_rng(0), 5000.0)
        waveforms = mains.push(np.linspace(5000.0, 9000.0, 1000))
        whole = CycleMeter().push(waveforms.voltage_v, waveforms.current_a)
        meter, starts, powers = CycleMeter(), [], []
        for piece in np.array_split(np.arange(SAMPLE_RATE_HZ), 97):
            cycles = meter.push(waveforms.voltage_v[:, piece], waveforms.current_a[:, piece])
            if cycles is not None:
                starts.append(cycles.start)
                powers.append(cycles.figures.real_power_w)
        assert whole is not None
        np.testing.assert_allclose(np.concatenate(starts), whole.start, atol=1e-8)
        np.testing.assert_allclose(np.concatenate(powers, axis=1), whole.figures.real_power_w, rtol=1e-9)

    def test_crossings_lie_between_samples(self) -> None:
        np.testing.assert_allclose(rising_zero_crossings(np.array([1.0, -1.0, 3.0, -1.0, 0.0, 1.0])), [1.25, 4.0])


class TestRecordings:
    def test_idle_and_serving_power(self, uncapped: pa.Table) -> None:
        time_s, power_w = seconds(uncapped), total_w(uncapped)
        np.testing.assert_allclose(power_w[time_s < 4.0], 2820.0, rtol=0.02)
        serving_w = power_w[(time_s > 30.0) & (time_s < 180.0)]
        assert 8000.0 < serving_w.mean() < 9000.0
        assert 10_500.0 < serving_w.max() < 11_700.0

    def test_apparent_power_bounds_real_power(self, uncapped: pa.Table) -> None:
        assert (np.abs(column(uncapped, "a_real_power_w")) <= column(uncapped, "a_apparent_power_va")).all()
        product = column(uncapped, "a_rms_voltage_v") * column(uncapped, "a_rms_current_a")
        np.testing.assert_allclose(column(uncapped, "a_apparent_power_va"), product, rtol=1e-12)

    def test_phases_differ_and_current_leads(self, uncapped: pa.Table) -> None:
        serving = seconds(uncapped) > 30.0
        power_w = column(uncapped, "a_real_power_w")[serving].mean(axis=0)
        assert 1.02 < power_w.max() / power_w.min() < 1.10
        reactive_var = column(uncapped, "a_reactive_power_var")[serving]
        assert (reactive_var.sum(axis=1) < -200.0).all()
        assert np.ptp(reactive_var.mean(axis=0)) > 50.0  # supplies from line to line
        factor = column(uncapped, "a_power_factor")
        assert 0.94 < factor.min() < factor[serving].mean() < 1.0

    def test_voltage_sags_under_load(self, uncapped: pa.Table) -> None:
        voltage_v, current_a = column(uncapped, "a_rms_voltage_v"), column(uncapped, "a_rms_current_a")
        assert 118.0 < voltage_v.min() < voltage_v.max() < 122.0
        slope_ohm = np.polyfit(current_a[:, 0], voltage_v[:, 0], 1)[0]
        assert -0.06 < slope_ohm < -0.02

    def test_frequency_is_a_little_off_sixty(self, uncapped: pa.Table) -> None:
        time_ms = column(uncapped, "time_ms")[:, 0]
        assert set(np.diff(time_ms).tolist()) == {16, 17}
        rate_hz = (len(time_ms) - 1) / (time_ms[-1] - time_ms[0]) * 1000.0
        assert 59.94 < rate_hz < 59.99

    def test_rows_are_frames_of_three_streams(self, uncapped: pa.Table) -> None:
        assert uncapped["stream"].to_pylist() == list(STREAMS) * (len(uncapped) // 3)
        frame = column(uncapped, "frame")
        assert (frame == np.arange(len(frame))[:, None]).all()
        assert uncapped["sequence"].equals(uncapped["frame"])

    def test_levels_of_cycling_caps_differ_but_are_not_flat(self, cycling: pa.Table) -> None:
        time_s, power_w = seconds(cycling), total_w(cycling)
        means, spreads = [], []
        for offset_s in (0.0, 10.0, 20.0):
            within = (time_s - offset_s) % 30.0
            inside = (within > 1.0) & (within < 10.0) & (time_s > 30.0)
            means.append(power_w[inside].mean())
            spreads.append(power_w[inside].std())
        assert means[0] - means[1] > 800.0
        assert means[1] - means[2] > 1500.0
        assert 4200.0 < means[2] < 4900.0
        assert spreads[0] > spreads[1] > spreads[2] > 50.0

    def test_a_static_cap_holds_serving_near_four_and_a_half_kilowatts(self) -> None:
        table = simulate(SAMPLE2, duration_s=90.0)
        serving_w = total_w(table)[seconds(table) > 30.0]
        assert 4200.0 < serving_w.mean() < 4700.0
        assert serving_w.std() > 50.0

    def test_a_cap_only_in_the_middle(self, uncapped: pa.Table) -> None:
        table = simulate(SAMPLE4, duration_s=115.0)
        before, capped = seconds(table) < 89.0, (seconds(table) > 111.0) & (seconds(table) < 115.0)
        assert total_w(table)[capped].max() < 6000.0
        # The same requests: until the first cap the power is sample1's, but for mains and meter.
        same = slice(0, np.count_nonzero(before))
        difference_w = np.abs(total_w(table)[same].mean() - total_w(uncapped)[same].mean())
        assert difference_w < 20.0


class TestReproducibility:
    def test_a_shorter_duration_is_a_prefix(self, uncapped: pa.Table) -> None:
        for duration_s in (2.5, 10.0):
            short = simulate(SAMPLE1, duration_s=duration_s)
            assert short.equals(uncapped.slice(0, len(short)))
            assert abs(len(short) / 3 - duration_s * 60) < 3

    def test_the_seed_decides(self) -> None:
        one, again, other = (simulate(SAMPLE1, seed, 3.0) for seed in (5, 5, 6))
        assert one.equals(again)
        assert not one.equals(other)

    @pytest.mark.parametrize("duration_s", [0.0, -1.0, 1e4, np.nan])
    def test_impossible_durations_are_refused(self, duration_s: float) -> None:
        with pytest.raises(ValueError, match="lasts"):
            blocks(SAMPLE1, duration_s=duration_s)

    def test_negative_seeds_are_refused(self) -> None:
        with pytest.raises(ValueError, match="seed"):
            blocks(SAMPLE1, seed=-1)

    @pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name.split("-")[0])
    def test_the_committed_file_is_what_the_simulation_gives(self, scenario: Scenario, uncapped: pa.Table) -> None:
        table = uncapped if scenario is SAMPLE1 else simulate(scenario, duration_s=45.0)
        recording = read(DATASETS / f"{scenario.name}.csv.gz")
        frames = len(table) // 3
        if scenario is SAMPLE1:
            assert recording.frame_count == frames
        np.testing.assert_array_equal(recording.time_ms.to_numpy()[:frames], column(table, "time_ms")[:, 0])
        for name in value_columns("a"):
            # Sines differ between processors in the last digit; the files hold seven.
            committed = recording.cycles[name].to_numpy(zero_copy_only=False)[: 3 * frames]
            np.testing.assert_allclose(committed, table[name].to_numpy(), rtol=1e-4, atol=1e-4, err_msg=name)
