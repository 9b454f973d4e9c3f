"""A batch as bytes: comes back whole, and what is not one is refused with a ValueError."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pyarrow as pa
import pytest

from pipeline.core import envelope
from pipeline.core.envelope import pack, rows_from_bytes, rows_to_bytes, unpack
from pipeline.core.model import CYCLE_SCHEMA, SPECTRUM_SCHEMA, Batch, Gap, GapReason, Tally
from tests.integration.batches import START_US, batch, cycles, spectra

GAP = Gap("rack1-pdu2", "threephase/karman1", "cycle", 5, 9, 3, START_US, START_US + 1, GapReason.TRANSPORT)
SPECTRA = spectra(
    [
        {
            "time": START_US + n,
            "received": START_US,
            "device": "rack1-pdu2",
            "stream": "fft/ö",
            "message": n,
            "flags": 0,
        }
        | {"sequence": None, "magnitude": [1.0, float("inf")][:n], "phase": [0.5] * n}
        for n in range(3)
    ]
)
FULL = replace(
    batch(7, cycles(4)),
    gaps=(GAP, replace(GAP, reason=GapReason.RESTART)),
    spectra=SPECTRA,
    tallies={'a "b" ü': Tally(9, 8, 7, 6, 5, 4, {"malformed": 1, "duplicate": 2}), "": Tally()},
)
EMPTY = Batch("ingest-0", 2**53, 0, {}, cycles(1).slice(0, 0), spectra([]))
PACKED = pack(FULL)


@pytest.mark.parametrize(
    "sent", [FULL, EMPTY, replace(FULL, cycles=FULL.cycles.slice(2, 5))], ids=["full", "empty", "slice"]
)
def test_a_batch_comes_back_whole(sent: Batch) -> None:
    got = unpack(pack(sent))
    assert replace(got, cycles=None, spectra=None) == replace(sent, cycles=None, spectra=None)
    for one, other, schema in [(got.cycles, sent.cycles, CYCLE_SCHEMA), (got.spectra, sent.spectra, SPECTRUM_SCHEMA)]:
        one.validate(full=True)
        assert one.schema.equals(schema, check_metadata=True)
        assert rows_to_bytes(one) == rows_to_bytes(other)  # `==` of Arrow says that NaN differs from NaN
        for name in ("device", "stream"):
            assert one.column(name).dictionary.equals(other.column(name).dictionary)
            assert one.column(name).indices.equals(other.column(name).indices)
    assert pack(got) == pack(sent)


def test_rows_come_back_alone() -> None:
    rows = FULL.cycles.select(["time", "device", "a_real_power_w"])
    assert rows_to_bytes(rows_from_bytes(rows_to_bytes(rows, SPECTRA))) == rows_to_bytes(rows)


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 8, b"a batch", PACKED[8:], rows_to_bytes(FULL.cycles, SPECTRA), pack(EMPTY)[:-500]]
)
def test_what_is_no_batch_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="packed batch"):
        unpack(data)


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "VERSION", 3)
    newer = pack(EMPTY)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="version 3, this program reads 2"):
        unpack(newer)


def test_what_a_spool_of_the_version_before_holds_is_read() -> None:
    """It had the tallies by name."""
    named = {
        "received": 9,
        "delivered": 8,
        "rows": 7,
        "missing": 6,
        "reordered": 5,
        "resets": 4,
        "dropped": {"empty": 1},
    }
    header = {"version": 1, "producer": "ingest-0", "epoch": 3, "number": 7, "tallies": {"pdu1": named}, "gaps": []}
    older = FULL.cycles.replace_schema_metadata({b"karman": json.dumps(header).encode()})
    got = unpack(rows_to_bytes(older, FULL.spectra))
    assert got.tallies == {"pdu1": Tally(**named)}
    assert got.cycles.num_rows == FULL.cycles.num_rows


def test_a_second_record_batch_in_a_stream_is_refused() -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, FULL.cycles.schema) as stream:
        stream.write_batch(FULL.cycles)
        stream.write_batch(FULL.cycles)
    with pytest.raises(ValueError, match="one record batch"):
        unpack(sink.getvalue().to_pybytes())


def outcome(data: bytes) -> str:
    try:
        unpack(data)
    except ValueError:
        return "ValueError"
    except Exception as error:
        return type(error).__name__
    return "a batch"


def test_what_is_cut_off_is_refused() -> None:
    end_mark = 8  # bytes, of the second stream: without it nothing of the batch is missing
    assert {outcome(PACKED[:length]) for length in range(0, len(PACKED) - end_mark, 11)} == {"ValueError"}


def test_what_is_damaged_raises_nothing_but_a_value_error() -> None:
    rng = random.Random(5)
    damaged = []
    for _ in range(1500):
        data = bytearray(PACKED)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        damaged.append(bytes(data))
    assert {outcome(data) for data in damaged} == {
        "ValueError",
        "a batch",
    }  # values may change: a checksum is the spool's
