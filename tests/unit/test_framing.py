"""Where a payload is, in messages of one part and of two."""

from __future__ import annotations

import itertools

import pytest

from pipeline.core.framing import payload_of, payloads_of

GOOD = b"\n\x00"
MESSAGES = (
    [b"power" + GOOD],
    [b"power", GOOD],
    [b"power-2" + GOOD],
    [b"power-2", GOOD],
    [b"power"],
    [b"power", GOOD, b""],
)


@pytest.mark.parametrize(
    ("parts", "topic", "payload"),
    [
        ([b"power" + GOOD], b"power", GOOD),
        ([GOOD], b"", GOOD),
        ([b"power"], b"power", b""),
        ([b"power", GOOD], b"power", GOOD),
        ([b"", GOOD], b"", GOOD),
        ([b"power", GOOD], b"", GOOD),  # without a topic every topic is ours
        ([b"power-2", GOOD], b"power", None),
        ([b"power-2" + GOOD], b"power", None),
        ([b"power-fast" + GOOD], b"power", None),  # "-fast" is a field of five bytes to protobuf
        ([b"power" + GOOD], b"", None),
        ([b"power\x78\x01" + GOOD], b"power", b"\x78\x01" + GOOD),  # a field that we do not know is no text
        ([b"power\xff" + GOOD], b"power", b"\xff" + GOOD),
        ([b"power-2"], b"power", b"-2"),
        ([b"power", GOOD, b""], b"power", None),
    ],
)
def test_payload_of(parts: list[bytes], topic: bytes, payload: bytes | None) -> None:
    assert payload_of(parts, topic) == payload


@pytest.mark.parametrize("count", [1, 2, 3])
def test_frames_in_a_row_give_the_payloads_of_their_messages(count: int) -> None:
    for messages in itertools.product(MESSAGES, repeat=count):
        frames = [part for message in messages for part in message]
        assert payloads_of(frames, b"power") == [payload_of(message, b"power") for message in messages]
