"""Ranges and templates: what is written stands for exactly what it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.core.patterns import MOST, combinations, expand_name, expand_range, fill


@given(first=st.integers(0, 9999), count=st.integers(1, 50), width=st.integers(1, 6))
def test_a_range_has_both_ends_and_keeps_its_width(first: int, count: int, width: int) -> None:
    numbers = list(range(first, first + count))
    text = f"{first:0{width}}..{numbers[-1]}"
    assert expand_range(text) == numbers
    assert expand_name(f"r{{{text}}}-x") == [f"r{number:0{width}}-x" for number in numbers]


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_combinations_are_all_there_once_in_order(sizes: list[int]) -> None:
    each = {f"f{index}": f"1..{size}" for index, size in enumerate(sizes)}
    found = combinations(each)
    keys = [tuple(int(values[name]) for name in each) for values in found]
    assert keys == sorted(set(keys))
    assert len(keys) == len(found)
    assert [values["index"] for values in found] == list(range(len(found)))


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("r{rack:02}-pdu{n}", "r07-pdu3"),
        ("tcp://10.0.{rack}.1:{index+20000}", "tcp://10.0.7.1:20041"),
        ("{rack-7}", "0"),
        ("{rack-7:03}", "000"),
        ("{feed}", "A"),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_templates(template: str, filled: str) -> None:
    assert fill(template, {"rack": 7, "n": 3, "feed": "A", "index": 41}) == filled


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{row}", "names {row}, which has no values"),
        ("{rack!r}", "is no field"),
        ("{}", "is no field"),
        ("{rack.real}", "is no field"),
        ("{rack:>99}", "is no field"),
        ("{feed:02}", "is for numbers"),
        ("{feed+1}", "is for numbers"),
    ],
)
def test_templates_that_mean_nothing(template: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fill(template, {"rack": 7, "feed": "A", "index": 0})


@pytest.mark.parametrize("text", ["", "1", "1-4", "a..b", "-1..3", "1...3", "9..1", f"0..{MOST}", "1..9999999999"])
def test_ranges_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="range"):
        expand_range(text)


def test_a_slip_of_the_keyboard_does_not_fill_the_memory() -> None:
    with pytest.raises(InputError, match="more than"):
        combinations({"a": "1..9999", "b": "1..9999"})
    with pytest.raises(InputError, match="more than"):
        expand_name("{1..9999}{1..9999}")


def test_names_without_ranges_stand_for_themselves() -> None:
    assert expand_name("r07") == ["r07"]
    with pytest.raises(InputError, match="not a range"):
        expand_name("{1..2}{a}")
