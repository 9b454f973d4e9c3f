"""The project's exceptions: one family, and whole after they were sent from process to process."""

from __future__ import annotations

import inspect
import pickle

import pytest

from pipeline.core import errors
from pipeline.core.errors import KarmanError, StorageError

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("kind", ALL)
def test_they_are_one_family_and_can_be_sent(kind: type[KarmanError]) -> None:
    assert issubclass(kind, KarmanError)
    assert kind.__module__ == errors.__name__
    got = pickle.loads(pickle.dumps(kind("one clear line")))
    assert type(got) is kind
    assert str(got) == "one clear line"


def test_who_refuses_the_login_has_answered() -> None:
    assert [StorageError("x").answered, StorageError("x", answered=True).answered] == [False, True]
    assert pickle.loads(pickle.dumps(StorageError("x", answered=True))).answered
