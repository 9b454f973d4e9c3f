"""CURVE: the key pairs that encrypt a ZeroMQ link and say who is at its ends, in the files that pyzmq makes.

A publisher has a pair, of which subscribers know the public key; a subscriber has one of its own. Secrets are read from
files by whoever needs them, and are never shown.

Must not know: sockets.
"""

from __future__ import annotations

import re
import stat
import struct
from pathlib import Path
from typing import Final, NamedTuple

import zmq.auth
from zmq.utils import z85

from pipeline.core.errors import InputError

KEY: Final = re.compile(rb"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")  # 32 bytes as Z85 (ZeroMQ RFC 32)
KEY_BYTES: Final = 32


class Keys(NamedTuple):
    """A pair of keys, as Z85."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Keys(public={self.public.decode()})"


def check_key(key: str) -> str:
    """A public key, if it is one.

    Raises:
        InputError: it is not 40 letters of Z85.
    """
    if not _is_key(key.encode()):
        raise InputError(f"{key!r} is no public key: 40 letters are wanted, as 'karman keys' prints them")
    return key


def _is_key(key: bytes) -> bool:
    try:
        return bool(KEY.fullmatch(key)) and len(z85.decode(key)) == KEY_BYTES
    except struct.error:  # five letters may say more than four bytes hold
        return False


def new_pair() -> Keys:
    """A pair that nobody knows, for who has none of their own."""
    return Keys(*zmq.curve_keypair())


def make_files(folder: Path, name: str) -> tuple[Path, Path, Keys]:
    """Make a pair: `NAME.key` to give away, and `NAME.key_secret`, which only its owner may read.

    Raises:
        InputError: there is such a file already, or it cannot be written.
    """
    public, secret = folder / f"{name}.key", folder / f"{name}.key_secret"
    if not re.fullmatch(r"[\w.@+-]{1,100}", name):
        raise InputError(f"{name!r} cannot be a file's name: use letters, digits and . @ + - _")
    for path in (public, secret):
        if path.exists():
            raise InputError(f"{path} is there already, and is not overwritten: choose another name, or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        secret.touch(0o600, exist_ok=False)  # before anything is in it
        zmq.auth.create_certificates(folder, name)
    except OSError as error:
        raise InputError(f"cannot make keys in {folder}: {error.strerror or error}") from error
    return public, secret, read_pair(secret)


def read_pair(path: Path) -> Keys:
    """The pair in a secret key's file.

    Raises:
        InputError: it cannot be read, is no such file, or anybody may read it; the message does not show the key.
    """
    try:
        mode = path.stat().st_mode
        public, secret = zmq.auth.load_certificate(path)
    except OSError as error:
        raise InputError(f"cannot read the key file {path}: {error.strerror or error}") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no key file as 'karman keys' makes it") from error
    if secret is None:
        raise InputError(f"{path} holds a public key only: name the file that ends with .key_secret")
    if not (_is_key(public) and _is_key(secret)):
        raise InputError(f"{path} is no key file as 'karman keys' makes it")
    if stat.S_ISREG(mode) and mode & stat.S_IROTH:
        raise InputError(f"anybody may read {path}: chmod o= {path}")
    return Keys(public, secret)


def check_admitted(folder: Path) -> Path:
    """A folder of public keys: who has one of them is admitted.

    Raises:
        InputError: it is none, or a file `*.key` in it holds no public key, for which ZeroMQ would admit nobody.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder with public keys")
    for path in sorted(folder.glob("*.key")):
        try:
            public, _ = zmq.auth.load_certificate(path)
        except (OSError, ValueError, UnicodeDecodeError):
            public = b""
        if not _is_key(public):
            raise InputError(f"{path} holds no public key as 'karman keys' makes it")
    return folder
