"""Single messages, as protobuf reads them: where nothing has to be fast.

Must not know: sockets.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import DecodeError

from pipeline.adapters.wire.schema import MESSAGE

_LONGEST_TOPIC: Final = 256  # bytes searched for the start of a payload behind an unknown topic


def find_topic(frame: bytes) -> bytes | None:
    """The topic in front of the payload in a single-part `frame`; None where no payload is found."""
    for start in range(min(len(frame), _LONGEST_TOPIC)):
        if frame[start] == 0x0A:
            try:
                if MESSAGE.FromString(frame[start:]).calculations:
                    return frame[:start]
            except DecodeError:
                continue
    return None


def by_attributes(payload: bytes) -> list[tuple[Any, ...]]:
    """The straightforward way to read a payload, message by message: what the benchmark compares `Decoder` with."""
    rows = []
    for wrapper in MESSAGE.FromString(payload).calculations:
        for phase in (wrapper.calculations.phase_a, wrapper.calculations.phase_b):
            voltage, current = phase.voltage_waveform_calculations_v, phase.current_waveform_calculations_a
            power, provenance = phase.power_calculations, phase.provenance
            rows.append(
                (
                    wrapper.calculation_name,
                    provenance.utc_time.seconds * 1_000_000 + provenance.utc_time.nanos // 1000,
                    provenance.generic_sequence_number,
                    *(voltage.rms, voltage.dc_offset, current.rms, current.dc_offset),
                    *(power.real_power_w, power.apparent_power_va, power.reactive_power_var, power.power_factor),
                )
            )
    return rows
