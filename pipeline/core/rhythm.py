"""How often an ingest looks, pushes and hands in, and the aggregators report.

Every turn has a cost of its own, whatever it carries: looking at a socket 10 us, a push or a hand-in 1 ms in all that
take part, and several where little else happens, for then nothing of it is in a core's cache. A hundred devices get the
shortest waits. Many take longer turns, so that this cost stays small beside the rest; so do few, where nearly all is
this cost.
All ingests keep one beat, that of the whole seconds: what they hand in comes together and is stored by one transaction,
and of more than a hundred devices the seconds of the roll-ups come whole. Merging one costs as much as storing five
messages.

Must not know: clocks, what is done at a turn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from pipeline.core.config import Limits

SHORTEST_REST_S: Final = 0.0002  # half a millisecond saved 2 % of an ingest of 100, and heard them 0.3 ms later
FEW: Final = 100  # devices, up to which sockets are looked at so often
REST_A_DEVICE_S: Final = 150e-6  # for each beyond: a thousand are looked at every 135 ms, with eight messages each
PUSH_A_DEVICE_S: Final = 500e-6
PATIENT: Final = 10  # devices, up to which turns take longest; of more a hand-in brings 600 messages and more
AT_ONCE: Final = 20_000  # messages that do not wait for a push: 6.5 MB of rows, where an outbox holds 64
LONGEST_REST_S: Final = 0.15
LONGEST_PUSH_S: Final = 0.5  # half of what the sums of a fleet wait for, see `config.Fleet.wait_s`
PATIENT_PUSH_S: Final = 1.0  # of a device alone, of which there are no such sums
PATIENT_HAND_IN_S: Final = 2.0  # those of a thousand are stored no sooner
WHOLE_S: Final = 1.0  # a hand-in of a whole second: one handed in before it is over is stored, and then merged into
SHORTEST_REPORT_S: Final = 1.0  # the cadence of the system that this one replaces
REPORT_A_DEVICE_S: Final = 2e-3  # its statistics cost 20 us, however little has come since
LONGEST_REPORT_S: Final = 2.0
AFTER_BEAT_S: Final = 0.05  # beyond a rest and two looks: the last messages of a second are in by then


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Seconds from turn to turn, and what is handed in."""

    rest_s: float  # between two looks at the sockets; and so long a device gathers before its connection is read
    after_s: float  # behind the beat
    push_s: float  # towards the aggregators
    hand_in_s: float  # towards the store
    whole_seconds: bool  # only the seconds of a device that are over are handed in
    report_s: float  # of the aggregators, about all windows


def rhythm(devices: int, limits: Limits, adds_up: bool = True) -> Rhythm:
    """The rhythm of a pipeline of so many devices; `adds_up`: they are added up, and the sums wait for their rows."""
    patience = min(1.0, PATIENT / max(1, devices))
    rest_s = min(LONGEST_REST_S, SHORTEST_REST_S + REST_A_DEVICE_S * max(0, devices - FEW))
    # Patience ends soon: a hundred devices are to be seen by the aggregators within a tenth of a second.
    longest_s = LONGEST_PUSH_S if adds_up else PATIENT_PUSH_S
    push_s = max(longest_s * patience**2, min(LONGEST_PUSH_S, PUSH_A_DEVICE_S * devices))
    push_s = WHOLE_S / math.ceil(WHOLE_S / push_s)  # so that one stands at every second, where hand-ins stand too
    if devices <= PATIENT:
        hand_in_s = PATIENT_HAND_IN_S
    elif devices <= FEW:
        hand_in_s = WHOLE_S / (devices // PATIENT)
    else:
        hand_in_s = WHOLE_S
    return Rhythm(
        rest_s,
        AFTER_BEAT_S + 3 * rest_s,
        max(limits.aggregator_flush_s, push_s),
        max(limits.store_flush_s, hand_in_s),
        devices > FEW,
        max(SHORTEST_REPORT_S, min(LONGEST_REPORT_S, REPORT_A_DEVICE_S * devices)),
    )


def until_beat_s(period_s: float, after_s: float, now_s: float) -> float:
    """How long until the next turn, `after_s` behind a beat; `now_s`: seconds since the epoch."""
    return period_s - (now_s - after_s) % period_s
