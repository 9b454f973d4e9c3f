"""Secrets that stand in files: read once, without the white space around them, and never shown.

Must not know: what they open.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.core.errors import InputError


def read_secret(path: Path, what: str) -> str:
    """The one line of a file.

    Raises:
        InputError: it cannot be read, or does not hold one line; the message does not repeat what it holds.
    """
    try:
        secret = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the {what} in {path}: {getattr(error, 'strerror', error)}") from error
    if not secret or "\n" in secret:
        raise InputError(f"{path} holds no {what}: one line is wanted")
    return secret


def read_token(path: Path | None) -> str | None:
    """The bearer token in a file; None without one.

    Raises:
        InputError: the file cannot be read, or holds no token.
    """
    if path is None:
        return None
    token = read_secret(path, "token")
    if not token.isascii() or any(letter.isspace() for letter in token):
        raise InputError(
            f"{path} holds no token: one word of ASCII letters is wanted, for example from openssl rand -hex 32"
        )
    return token
