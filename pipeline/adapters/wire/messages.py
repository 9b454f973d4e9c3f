"""Single messages, as protobuf reads them: where nothing has to be fast.

Must not know: sockets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import DecodeError

from pipeline.adapters.wire.schema import MESSAGE
from pipeline.core.framing import LONGEST_TOPIC


def find_topic(parts: Sequence[bytes]) -> bytes | None:
    """The topic of a message of one part, where it stands in front of the payload, or two; None where no payload is."""
    if len(parts) == 2 and _is_payload(parts[1]):
        return parts[0]
    frame = parts[0]
    starts = (start for start in range(min(len(frame), LONGEST_TOPIC)) if frame[start] == 0x0A)
    return next((frame[:start] for start in starts if _is_payload(frame[start:])), None)


def _is_payload(data: bytes) -> bool:
    try:
        return bool(MESSAGE.FromString(data).calculations)
    except DecodeError:
        return False


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
