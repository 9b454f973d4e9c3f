"""Segments on disk: where batches wait while the database cannot take them.

A segment holds some packed batches: a header with their lengths, checksums and message counts, a digest of them, then
the batches. It is written to a temporary name, flushed to disk and renamed, so that it is there whole or not at all.
Segments are read back in the order in which they were written. When the bound is reached the oldest are dropped, and
what they held is counted in segment 0, a batch without rows for each producer. One that cannot be read is set aside
under another name.

Must not know: the database, when to write or read.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from pipeline.core.digest import Digest
from pipeline.core.envelope import pack, unpack
from pipeline.core.errors import SpoolError
from pipeline.core.intake import only_counts
from pipeline.core.model import Account, Batch, Drop, Tally, merged, total, without_rows

log = logging.getLogger(__name__)

_MAGIC: Final = b"KSP2"
_WITHOUT_DIGEST: Final = b"KSP1"  # of earlier versions of this program
_HEAD: Final = struct.Struct("<4sII")  # magic, number of batches, checksum of the entries
_ENTRY: Final = struct.Struct("<III")  # length, checksum and messages of a batch
_DIGEST: Final = struct.Struct("<II")  # length and checksum
_SUFFIX: Final = ".segment"
_GONE: Final = (errno.EIO, errno.ENOENT)  # not to be read later either
PREDECESSOR_S: Final = 10.0  # how long a process that was killed may take to be gone
_DROPPED: Final = 0  # the segment that keeps the counts of what had to be dropped


@dataclass(frozen=True, slots=True)
class Reading:
    """A segment read back: its good batches, and one without rows that counts the messages whose batch cannot be read.

    Where the header itself is gone their number is not known, and not counted.
    """

    batches: tuple[Batch, ...]
    damaged: bool


class Spool:
    """A directory of segments, for one writer. `append`, `numbers`, `digest`, `read` and `remove` are its interface.

    Args:
        folder: made if missing; segments that an earlier process left are there again.
        account: in whose name it counts what it has lost.
        limit_bytes: what the segments may take.
        dropped: told how the counts of an account change when a batch's rows are dropped to make room.

    Raises:
        SpoolError: the folder cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        account: Account,
        limit_bytes: int,
        dropped: Callable[[Account, Tally], None],
    ) -> None:
        self._folder = folder
        self._account = account
        self._limit_bytes = limit_bytes
        self._tell_dropped = dropped
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for leftover in folder.glob("*.tmp"):
                leftover.unlink()
            self._sizes = {
                int(path.name.removesuffix(_SUFFIX)): path.stat().st_size for path in sorted(folder.glob(f"*{_SUFFIX}"))
            }
        except (OSError, ValueError) as error:
            raise SpoolError(f"the spool {folder} cannot be used: {error}") from error
        # No number comes again whose segment was damaged: what is told of that goes by it.
        aside = (int(path.stem) for path in folder.glob("*.damaged") if path.stem.isdecimal())
        self._next = max({*self._sizes, *aside, 0}) + 1
        self.damaged = 0  # segments set aside since this process started
        self._dropped: dict[Account, Batch] = {}
        if _DROPPED in self._sizes:
            self._dropped = {batch.account: batch for batch in self.read(_DROPPED).batches}

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return sum(self._sizes.values())

    @property
    def segments(self) -> int:
        """How many segments wait."""
        return len(self._sizes)

    def numbers(self) -> list[int]:
        """The segments that wait, oldest first."""
        return sorted(self._sizes)

    def append(self, batches: Sequence[Batch]) -> None:
        """Write a segment; when this returns it survives a power cut.

        Raises:
            SpoolError: it could not be written (the disk is full, say), or there is no room; nothing of it remains.
        """
        number = self._next
        self._write(number, batches)
        self._next += 1
        try:
            self._make_room(number)
        except SpoolError:
            self.remove(number)
            raise

    def digest(self, number: int) -> Digest:
        """What a segment tells without its rows being read; where that is damaged, from them.

        Raises:
            SpoolError: it cannot be read now.
        """
        try:
            with self._path(number).open("rb") as file:
                magic, count, _ = _HEAD.unpack(file.read(_HEAD.size))
                if magic == _MAGIC:
                    file.seek(count * _ENTRY.size, os.SEEK_CUR)
                    length, checksum = _DIGEST.unpack(file.read(_DIGEST.size))
                    data = file.read(length)
                    if zlib.crc32(data) == checksum:
                        return Digest.from_bytes(data)
        except (OSError, ValueError, struct.error):
            pass  # reading all of it tells what is wrong
        return Digest.of(self.read(number).batches)

    def read(self, number: int) -> Reading:
        """Read a segment. One that is damaged is set aside, and what is whole of it is given.

        Raises:
            SpoolError: it cannot be read now, as far as one can tell: there are too many open files, say.
        """
        path = self._path(number)
        batches: list[Batch] = []
        lost = 0
        try:
            data = path.read_bytes()
            magic, count, checksum = _HEAD.unpack_from(data)
            entries = data[_HEAD.size : _HEAD.size + count * _ENTRY.size]
            if magic not in (_MAGIC, _WITHOUT_DIGEST) or zlib.crc32(entries) != checksum:
                raise ValueError("no header")
            position = _HEAD.size + len(entries)
            if magic == _MAGIC:
                position += _DIGEST.size + _DIGEST.unpack_from(data, position)[0]
        except (OSError, ValueError, struct.error) as error:
            if isinstance(error, OSError) and error.errno not in _GONE:
                raise SpoolError(f"the spool {self._folder} cannot be read: {error.strerror}") from error
            self._set_aside(number)
            return Reading((), True)
        damaged = False
        for length, checksum, messages in _ENTRY.iter_unpack(entries):
            packed = data[position : position + length]
            position += length
            try:
                if zlib.crc32(packed) != checksum:
                    raise ValueError("checksum")
                batches.append(unpack(packed))
            except ValueError:
                damaged = True
                lost += messages
        if damaged:
            self._keep_copy(number, data)
            batches.append(only_counts(*self._account, number, {"": Tally(dropped={Drop.SPOOL_DAMAGED: lost})}))
        return Reading(tuple(batches), damaged)

    def remove(self, number: int) -> None:
        """Forget a segment whose batches are stored."""
        self._sizes.pop(number, None)
        if number == _DROPPED:
            self._dropped = {}
        with contextlib.suppress(FileNotFoundError):
            self._path(number).unlink()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}{_SUFFIX}"

    def _write(self, number: int, batches: Sequence[Batch]) -> None:
        packed = [pack(batch) for batch in batches]
        entries = b"".join(
            _ENTRY.pack(len(data), zlib.crc32(data), total(batch.tallies.values()).delivered)
            for data, batch in zip(packed, batches, strict=True)
        )
        digest = Digest.of(batches).to_bytes()
        path = self._path(number)
        temporary = path.with_suffix(".tmp")
        try:
            with temporary.open("wb") as file:
                file.write(_HEAD.pack(_MAGIC, len(packed), zlib.crc32(entries)))
                file.write(entries)
                file.write(_DIGEST.pack(len(digest), zlib.crc32(digest)))
                file.write(digest)
                file.writelines(packed)
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
            temporary.rename(path)
            self._sync_folder()
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise SpoolError(f"the spool {self._folder} takes nothing: {error.strerror}") from error
        self._sizes[number] = size

    def _make_room(self, newest: int) -> None:
        for number in self.numbers():
            if self.nbytes <= self._limit_bytes or number == newest:
                return
            if number == _DROPPED:
                continue
            dropped = dict(self._dropped)
            changes: list[tuple[Account, Tally]] = []
            for batch in self.read(number).batches:
                account, stripped = batch.account, without_rows(batch, Drop.SPOOL_FULL)
                changes.append((account, total(stripped.tallies.values()) - total(batch.tallies.values())))
                dropped[account] = merged(dropped[account], stripped) if account in dropped else stripped
            self._write(_DROPPED, list(dropped.values()))  # first the counts, then the file: dying between counts twice
            self._dropped = dropped
            self.remove(number)
            for account, change in changes:
                self._tell_dropped(account, change)

    def _set_aside(self, number: int) -> None:
        self.damaged += 1
        self._sizes.pop(number, None)
        with contextlib.suppress(OSError):
            self._path(number).rename(self._path(number).with_suffix(".damaged"))

    def _keep_copy(self, number: int, data: bytes) -> None:
        """Keep a segment of which some can be read, beside the rest of it going its way."""
        path = self._path(number).with_suffix(".damaged")
        if not path.exists():
            self.damaged += 1
            with contextlib.suppress(OSError):
                path.write_bytes(data)

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def hold(folder: Path) -> IO[bytes]:
    """Keep others out of a spool as long as the answer is open: two writers would write over each other's segments.

    Whoever is started anew waits for its predecessor to be gone.

    Raises:
        SpoolError: another one has it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (folder / ".lock").open("wb")
    except OSError as error:
        raise SpoolError(f"the spool {folder} cannot be used: {error.strerror}") from error
    deadline_s = time.monotonic() + PREDECESSOR_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                file.close()
                raise SpoolError(
                    f"another pipeline uses the spool {folder}: give this one a --spool-dir of its own"
                ) from None
            time.sleep(0.1)
        except OSError as error:  # a file system without locks: then nobody can tell
            log.warning("the spool %s cannot be locked: %s", folder, error.strerror)
            return file
        else:
            return file


def shard_folder(folder: Path, shard: int, shards: int) -> Path:
    """The folder of one of several spools: the first one's is `folder` itself.

    Raises:
        SpoolError: batches wait in that of a shard that there is no more, so that nobody would store them.
    """
    for other in sorted(folder.glob("shard-*")):
        number = other.name.removeprefix("shard-")
        if number.isdecimal() and int(number) >= shards and any(other.glob(f"*{_SUFFIX}")):
            raise SpoolError(f"batches wait in {other}: run with {int(number) + 1} store shards until they are stored")
    return folder / f"shard-{shard}" if shard else folder
