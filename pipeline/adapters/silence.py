"""Says that a device is not heard, and what can be told about why, until it is heard.

Must not know: Ray, what happens to the notices.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from pipeline.adapters import link, wire
from pipeline.core.framing import printable

log = logging.getLogger(__name__)

OFTEN: Final = 3  # connections
NOTICES: Final = 20  # of an ingest; what is silent is counted, and is in the metrics
PROBE_S: Final = 2.0  # a device publishes 50 or 60 times a second: two seconds of nothing is nothing
_Standing = tuple[bool, int, str]  # of a link: connected, how often it was, why not


class SilenceWatch:
    """Watches the links of a subscriber; `look` is called about once a second from the subscriber's thread."""

    def __init__(self, subscriber: link.Subscriber, silence_s: float) -> None:
        self._subscriber = subscriber
        self._silence_s = silence_s
        self._told: dict[str, str] = {}  # by device that is silent; "" while it is found out why
        self._asked: dict[str, tuple[_Standing, Future[None]]] = {}  # how its link stood when it was last asked why
        self._probes = ThreadPoolExecutor(max_workers=2, thread_name_prefix="probe")

    @property
    def notices(self) -> list[str]:
        """The newest few sentences, of devices that are still silent."""
        return [said for said in list(self._told.values()) if said][-NOTICES:]

    def look(self) -> None:
        """Notice who has fallen silent; asking why happens beside, in a thread."""
        self._subscriber.watch()
        now_s = time.monotonic()
        states = self._subscriber.states
        for name in self._asked.keys() - states.keys():
            del self._asked[name]
            self._told.pop(name, None)
        for name, state in states.items():
            if now_s - state.silent_since_s < self._silence_s:
                self._told.pop(name, None)
                continue
            standing = (state.connected, state.connections, state.failure)
            before, asking = self._asked.get(name, (None, None))
            if (name not in self._told or standing != before) and (asking is None or asking.done()):
                self._told.setdefault(name, "")  # what was said holds until it is found out anew
                self._asked[name] = standing, self._probes.submit(self._tell, name, state)

    def _tell(self, name: str, state: link.LinkState) -> None:
        topic = printable(state.topic.decode(errors="replace"))
        try:
            why = self._why(state)
        except Exception:
            log.exception("why %s is silent cannot be found out", name)
            return
        if name in self._told:  # else it was heard meanwhile
            where = f"nothing on topic '{topic}' at {state.endpoint} for {self._silence_s:.0f} s"
            self._told[name] = f"{name}: {where}; {why}" if why else ""

    def _why(self, state: link.LinkState) -> str:
        """What can be told; "" if it speaks as it should."""
        if not state.connected:
            if state.failure:
                return f"the handshake has failed {state.handshakes_failed} times: {state.failure}"
            if state.connections > OFTEN:
                largest = f"{link.LARGEST_MESSAGE >> 20} MiB"
                return f"the connection breaks off again and again: does it restart, or send messages above {largest}?"
            if state.connections:
                return "the connection is gone: is the device on?"
            return "no connection yet: is the address right, and the device on?"
        parts = self._subscriber.probe(state, PROBE_S)
        if parts is None:
            return "connected, but it publishes nothing under any topic"
        seen = wire.find_topic(parts)
        if seen is None:
            return "it publishes messages that are not ours"
        if seen == state.topic:
            return ""
        topic = printable(seen.decode(errors="replace"))
        if not topic:
            return "it publishes without a topic: use --topic '', or give it the topic '' in the fleet file"
        return f"it publishes under topic '{topic}': use --topic, or give it that 'topic' in the fleet file"
