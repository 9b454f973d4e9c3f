"""A device that is not ours: another encoder, fields out of order, unknown fields, absent ones, FFTs, garbage.

The encoder here is written against the wire format's specification and uses no protobuf library.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any

import psycopg
import zmq

from pipeline.adapters import embedded, link


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def part(field: int, body: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(body)) + body


def real(field: int, value: float) -> bytes:
    return varint(field << 3 | 5) + struct.pack("<f", value)


def provenance(sequence: int, time_ns: int) -> bytes:
    stamp = varint(2 << 3) + varint(time_ns % 10**9) + varint(1 << 3) + varint(time_ns // 10**9)  # nanos first
    return varint(2 << 3) + varint(sequence) + part(1, stamp)


def cycle(stream: int, sequence: int, time_ns: int) -> bytes:
    power = real(4, 0.5) + part(99, b"from the future") + real(1, 1000.0 + stream)  # no apparent, no reactive power
    phase_a = part(4, power) + part(3, real(1, 8.25)) + part(1, provenance(sequence, time_ns))  # no voltage
    return part(1, part(2, part(1, phase_a)) + part(1, f"threephase/karman{stream}".encode()))


def spectrum(sequence: int, time_ns: int) -> bytes:
    packed = struct.pack("<3f", 1.0, 0.5, 0.25)
    fft = part(3, packed) + part(2, packed) + part(1, provenance(sequence, time_ns))
    return part(1, part(1, b"fft/karman1") + part(3, fft))


def test_it_is_understood_and_the_garbage_is_counted(start: Callable[..., Any]) -> None:
    (endpoint,) = link.free_endpoints(1)
    with embedded.temporary() as dsn, zmq.Context() as context, context.socket(zmq.XPUB) as publisher:
        publisher.bind(endpoint)
        run = start("run", "--connect", f"bench-3={endpoint}", "--topic", "power", KARMAN_DSN=dsn)
        assert publisher.poll(60_000), run.output()
        for sequence in range(300):
            now_ns = time.time_ns()
            good = b"".join(cycle(stream, sequence, now_ns) for stream in (1, 2, 3))
            if sequence % 2:
                publisher.send(b"power" + varint(15 << 3) + varint(7) + good)  # an unknown field before the first
            else:
                publisher.send_multipart([b"power", good])
            if sequence % 100 == 50:
                publisher.send(b"power\x0a\xff\xff\xff\xff\xff")
                publisher.send(b"power")
                publisher.send(b"power-2" + good)
                publisher.send(b"power" + spectrum(sequence, now_ns))
            time.sleep(0.005)
        run.ready()
        time.sleep(1)
        assert run.end(15) == 0, run.output()
        report = run.report()
        with psycopg.connect(dsn) as connection:
            rows = connection.execute(
                "SELECT d.name, s.name, count(*), min(sequence), max(sequence), max(flags), min(a_real_power_w),"
                " max(a_rms_current_a), count(a_rms_voltage_v), count(a_apparent_power_va), count(b_real_power_w)"
                " FROM cycle JOIN device d ON d.id = device_id JOIN stream s ON s.id = stream_id GROUP BY 1, 2 ORDER BY 2"
            ).fetchall()
            spectra = connection.execute("SELECT count(*), min(magnitude), max(phase) FROM spectrum").fetchall()
    assert rows == [
        ("bench-3", f"threephase/karman{stream}", 300, 0, 299, 0, 1000.0 + stream, 8.25, 0, 0, 0)
        for stream in (1, 2, 3)
    ]
    assert spectra == [(3, [1.0, 0.5, 0.25], [1.0, 0.5, 0.25])]
    assert report["received"] == 300 + 4 * 3
    assert report["stored"] == 303
    assert report["missing"] == 0
    assert sum(report["dropped"].values()) == 9
    assert report["dropped"]["other_topic"] >= 3
    assert report["dropped"]["malformed"] == 3
