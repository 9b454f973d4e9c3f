"""The PostgreSQL of our own: where it may stand, and who may use it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psycopg
import pytest

from pipeline.adapters import embedded
from pipeline.core.errors import InputError


def test_rows_survive_from_one_start_to_the_next(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = (
        Path(embedded.default_data_dir()) / f"test-{os.getpid()}"
        if os.geteuid() == 0
        else tmp_path_factory.mktemp("pg")
    )
    folder.mkdir(parents=True, exist_ok=True)
    for expected in (1, 2):
        with embedded.postgres(folder) as dsn, psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
            connection.execute("INSERT INTO kept VALUES (1)")
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (expected,)
            connection.commit()
            deadline = time.monotonic() + 10  # the server reads its settings anew when it comes to it
            while (said := connection.execute("SHOW max_wal_size").fetchone()) != ("2GB",):
                assert time.monotonic() < deadline, said
            with pytest.raises(InputError, match="another karman uses"), embedded.postgres(folder):
                pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as another user")
def test_root_is_refused_a_private_tree_and_the_tree_stays_private(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(InputError, match="may not enter"), embedded.postgres(private / "data"):
        pass
    assert private.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_made_is_said() -> None:
    with pytest.raises(InputError, match="--data-dir"), embedded.postgres(Path("/proc/karman")):
        pass


def test_a_folder_with_a_space_is_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without a space"), embedded.postgres(tmp_path / "my data"):
        pass


def test_the_usual_folder_has_no_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(embedded.platformdirs, "user_data_path", lambda _: Path("/home/x/Application Support/karman"))
    assert " " not in str(embedded.default_data_dir().relative_to(Path.home()))
