"""Which of a pair sends: one and only one, whoever is asked, and the one that misses least."""

from __future__ import annotations

import pytest

from pipeline.core.pairing import Standing, sender, takes_over

LONG, SHORT = Standing("ingest-0", False, 100), Standing("standby-0", False, 200)


@pytest.mark.parametrize(
    ("own", "peer", "takes"),
    [
        (SHORT, None, True),  # the other one does not answer
        (LONG, SHORT, True),
        (SHORT, LONG, False),  # it has heard for longer, and misses less
        (LONG, Standing("standby-0", True, 200), False),
        (LONG, Standing("ingest-1", False, 100), True),  # since the same moment: the first by name
        (Standing("ingest-1", False, 100), LONG, False),
        (LONG, LONG, False),
    ],
)
def test_one_that_stands_by_takes_over_where_nobody_better_does(
    own: Standing, peer: Standing | None, takes: bool
) -> None:
    assert takes_over(own, peer) is takes


def test_of_two_that_say_they_send_the_later_epoch_is_believed() -> None:
    stats = [{"epoch": 5, "who": "replaced"}, {"epoch": 7, "who": "sends"}, {"epoch": 6, "who": "older"}]
    assert sender(stats) == stats[1]
    assert sender([]) is None
