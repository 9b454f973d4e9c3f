"""The project's exceptions. Foreign ones are translated once, at the adapter that meets them, with `from`."""

from __future__ import annotations


class KarmanError(Exception):
    """Something failed at run time; the message is one clear line (exit code 1)."""


class InputError(KarmanError):
    """What a user gave cannot be used; the message says what is wrong and what would be right (exit code 2)."""


class StorageError(KarmanError):
    """The database cannot be reached or refused what we sent."""
