"""The project's exceptions. Foreign ones are translated once, at the adapter that meets them, with `from`."""

from __future__ import annotations


class KarmanError(Exception):
    """Something failed at run time; the message is one clear line (exit code 1)."""


class InputError(KarmanError):
    """What a user gave cannot be used; the message says what is wrong and what would be right (exit code 2)."""


class StorageError(KarmanError):
    """The database cannot be reached or cannot take anything now; the same may be tried again.

    `answered`: somebody is there and refuses the login, so that waiting alone does not help.
    """

    def __init__(self, message: str, answered: bool = False) -> None:
        super().__init__(message)
        self.answered = answered


class RefusedError(KarmanError):
    """The database refuses these very rows, and would again."""


class SpoolError(KarmanError):
    """The spool on disk cannot take or give a segment."""
