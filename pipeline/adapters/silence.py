"""Says, once per silence, that a device is not heard, and what can be told about why.

Must not know: Ray, what happens to the notices.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from pipeline.adapters import link, wire

PROBE_S: Final = 2.0  # a device publishes 50 or 60 times a second: two seconds of nothing is nothing


class SilenceWatch:
    """Watches the links of a subscriber; `look` is called about once a second from the subscriber's thread.

    Args:
        notices: where the sentences go; bounded by its owner.
    """

    def __init__(self, subscriber: link.Subscriber, silence_s: float, notices: deque[str]) -> None:
        self._subscriber = subscriber
        self._silence_s = silence_s
        self._notices = notices
        self._told: set[str] = set()
        self._probes = ThreadPoolExecutor(max_workers=2, thread_name_prefix="probe")

    def look(self) -> None:
        """Notice who has fallen silent; asking why happens beside, in a thread."""
        self._subscriber.watch()
        now_s = time.monotonic()
        for name, state in self._subscriber.states.items():
            silent = now_s - state.silent_since_s >= self._silence_s
            if not silent:
                self._told.discard(name)
            elif name not in self._told:
                self._told.add(name)
                self._probes.submit(self._tell, name, state)

    def _tell(self, name: str, state: link.LinkState) -> None:
        topic = state.topic.decode(errors="replace")
        where = f"{name}: nothing on topic '{topic}' at {state.endpoint} for {self._silence_s:.0f} s"
        if not state.connected:
            why = "no connection yet: is the address right, and the device on?"
            if state.failure:
                why = f"the handshake has failed {state.handshakes_failed} times: {state.failure}"
            self._notices.append(f"{where}; {why}")
            return
        frame = self._subscriber.probe(state, PROBE_S)
        seen = None if frame is None else wire.find_topic(frame)
        if frame is None:
            self._notices.append(f"{where}; connected, but it publishes nothing under any topic")
        elif seen is None:
            self._notices.append(f"{where}; it publishes messages that are not ours")
        else:
            self._notices.append(f"{where}; it publishes under topic '{seen.decode(errors='replace')}': use --topic")
