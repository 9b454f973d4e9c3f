"""Where a message's payload is: behind the topic in the same frame, or in a frame of its own.

A subscription to a topic also brings what is published under longer ones. In one frame the rest of such a topic stands
before the payload, and may be read as a field that nobody knows: then all behind it, or what is left of it, would pass
for the device's own. A payload begins with a line feed, the tag of its first field; text before one is a longer topic.

Must not know: sockets, what else a payload holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

LONGEST_TOPIC: Final = 256  # bytes


def payload_of(parts: Sequence[bytes], topic: bytes) -> bytes | None:
    """The payload of a ZeroMQ message, one part (topic and payload joined) or two; None if it is another topic's."""
    if len(parts) == 1:
        payload = parts[0][len(topic) :]
        return None if _of_longer_topic(payload) else payload
    if len(parts) == 2 and (parts[0] == topic or not topic):
        return parts[1]
    return None


def payloads_of(frames: Sequence[bytes], topic: bytes) -> list[bytes | None]:
    """As `payload_of`, of the frames of whole messages one after the other, whose bounds nobody asked ZeroMQ for.

    Asking takes a microsecond a message. It is not needed: ZeroMQ delivers what begins with the topic, so a frame that
    does not is a further part. (One that a publisher begins with the topic as well passes for a message of its own.)

    Args:
        topic: not empty.
    """
    size, begin = len(topic), topic + b"\n"
    payloads: list[bytes | None] = [frame[size:] for frame in frames if frame.startswith(begin)]
    if len(payloads) == len(frames):  # nearly always: every message is one frame
        return payloads
    messages: list[list[bytes]] = []
    for frame in frames:
        if frame[:size] == topic:
            messages.append([frame])
        elif messages:
            messages[-1].append(frame)
    return [payload_of(parts, topic) for parts in messages]


def printable(text: str) -> str:
    """What a device says of itself, on one line: a terminal takes other letters for commands."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _of_longer_topic(payload: bytes) -> bool:
    text, line_feed, _ = payload[: LONGEST_TOPIC + 1].partition(b"\n")
    try:
        return bool(text and line_feed) and text.decode().isprintable()
    except UnicodeDecodeError:
        return False
