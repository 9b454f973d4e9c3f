"""The rate of a device, by its arrivals."""

from __future__ import annotations

from pipeline.core.rates import OffRates, Rates

START_US = 1_800_000_000_000_000


def looked(rates: Rates, received: int, until_s: float, heard_s: float, now_s: float) -> float | None:
    until_us, heard_us, now_us = (START_US + round(1e6 * at) if at else 0 for at in (until_s, heard_s, now_s))
    return rates.look("bench", received, until_us, heard_us, now_us)


def test_it_is_that_of_the_arrivals_whenever_one_looks() -> None:
    rates = Rates()
    assert looked(rates, 60, 1.0, 1.02, 1.03) is None
    assert looked(rates, 90, 1.5, 2.02, 2.03) == 60  # one push fewer than usual
    assert looked(rates, 210, 3.5, 3.52, 3.53) == 60  # and two more


def test_while_nothing_new_is_counted_it_stays_and_falls_with_the_time_that_a_device_is_quiet() -> None:
    rates = Rates()
    looked(rates, 60, 1.0, 1.0, 1.01)
    assert looked(rates, 120, 2.0, 2.0, 2.01) == 60
    assert looked(rates, 120, 2.0, 3.0, 3.01) == 60
    assert looked(rates, 120, 2.0, 3.0, 5.0) == 0.5
    assert looked(rates, 180, 5.0, 5.0, 5.01) == 20  # since it was heard last


def test_a_slow_device_keeps_its_rate_between_two_messages() -> None:
    rates = Rates()
    looked(rates, 1, 5.0, 5.0, 5.5)
    assert looked(rates, 2, 7.0, 7.0, 7.5) == 0.5
    assert looked(rates, 2, 7.0, 7.0, 8.5) == 0.5


def test_it_is_unknown_before_two_looks_and_where_a_count_or_a_clock_has_begun_anew() -> None:
    rates = Rates()
    assert looked(rates, 0, 0, 0, 1.0) is None
    assert looked(rates, 60, 2.0, 2.0, 2.0) is None
    assert looked(rates, 120, 3.0, 3.0, 3.0) == 60
    assert looked(rates, 10, 4.0, 4.0, 4.0) is None
    assert looked(rates, 70, 5.0, 5.0, 5.0) == 60
    assert looked(rates, 130, 4.5, 4.5, 4.5) is None
    assert looked(rates, 190, 5.5, 5.5, 5.5) == 60


def test_a_device_that_is_quiet_after_the_first_look_has_no_rate_yet() -> None:
    rates = Rates()
    assert [rates.look("a", 60, 1_000_000, 1_000_000, now_us) for now_us in (1_000_000, 2_000_000)] == [None, None]


def test_a_device_with_another_mains_frequency_is_told_after_a_while() -> None:
    off = OffRates()
    heard = {"right": 59.9, "europe": 50.0, "silent": None}

    def said(at_s: int, **others: float | None) -> list[str]:
        return off.look({**heard, **others}, lambda name: 60.0, START_US + at_s * 1_000_000)

    assert said(0) == said(9) == []
    (notice,) = said(10)
    assert notice.startswith("europe is heard 50.0 times a second, and 60 are configured")
    assert said(11, europe=60.0) == said(12) == [], "it begins anew"
    many = {f"d{number}": 50.0 for number in range(5)}
    said(20, **many)
    assert said(30, **many)[-1] == "and 3 devices more have another rate"
