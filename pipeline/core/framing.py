"""Where a message's payload is: behind the topic in the same frame, or in a frame of its own.

Must not know: sockets, what a payload holds.
"""

from __future__ import annotations

from collections.abc import Sequence


def payload_of(parts: Sequence[bytes], topic: bytes) -> bytes | None:
    """The payload of a ZeroMQ message, one part (topic and payload joined) or two; None if it is another topic's."""
    if len(parts) == 1:
        return parts[0][len(topic) :]
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
    size = len(topic)
    payloads: list[bytes | None] = [frame[size:] for frame in frames if frame[:size] == topic]
    if len(payloads) == len(frames):  # nearly always: every message is one frame
        return payloads
    messages: list[list[bytes]] = []
    for frame in frames:
        if frame[:size] == topic:
            messages.append([frame])
        elif messages:
            messages[-1].append(frame)
    return [payload_of(parts, topic) for parts in messages]
