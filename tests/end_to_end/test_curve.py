"""Encrypted devices as their user sets them up: keys, a fleet file, and a wrong key mended while the pipeline runs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from pipeline.adapters import embedded
from tests.ports import free_port, free_ports


def test_keys_are_made_used_and_mended(
    start: Callable[..., Any],
    karman: Callable[..., subprocess.CompletedProcess[str]],
    until_true: Callable[..., Any],
    tmp_path: Path,
) -> None:
    keys = tmp_path / "keys"
    for name in ("pdu", "other", "ours"):
        made = karman("keys", name, "--folder", str(keys))
        assert made.returncode == 0, made.stderr
    assert "is there already" in karman("keys", "pdu", "--folder", str(keys)).stderr
    (keys / "admitted").mkdir()
    (keys / "admitted" / "ours.key").write_text((keys / "ours.key").read_text())
    public, secret = ({name: _key(keys / f"{name}.{ending}", word) for name in ("pdu", "other", "ours")}
                      for ending, word in (("key", "public"), ("key_secret", "secret")))  # fmt: skip

    encrypted, plain = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
    document: dict[str, Any] = {
        "devices": [
            {"id": "encrypted", "endpoint": encrypted, "server_key": public["other"]},
            {"id": "plain", "endpoint": plain},
        ],
        "security": {"curve": {"client_secret_file": "keys/ours.key_secret", "require": True}},
        "http": {"port": free_port()},
    }
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump(document))
    refused = karman("check", "-c", str(path))
    assert (refused.returncode, "has no 'server_key'" in refused.stderr) == (2, True)
    del document["security"]["curve"]["require"]
    path.write_text(yaml.safe_dump(document))
    assert karman("check", "-c", str(path)).returncode == 0

    publishers = [
        subprocess.Popen(
            [sys.executable, "-m", "pipeline", "replay", "--bind", endpoint, "--no-wait", "--loop", *options],
            stdout=subprocess.DEVNULL,
        )
        for endpoint, options in (
            (plain, ()),
            (encrypted, (f"--server-secret-file={keys / 'pdu.key_secret'}", f"--authorized-keys={keys / 'admitted'}")),
        )
    ]
    try:
        with embedded.temporary() as dsn:
            run = start("run", "-c", str(path), at=document["http"]["port"], KARMAN_DSN=dsn)
            run.ready()
            failing = until_true(lambda: (d := run.status()["devices"]["encrypted"])["handshakes_failed"] and d, 30)
            assert (failing["connected"], failing["received"]) == (False, 0)
            until_true(lambda: any("the handshake has failed" in notice for notice in run.status()["notices"]), 30)
            assert 'karman_handshakes_failed_total{device="encrypted"}' in (run.get("/metrics") or "")
            silent = [
                alert["labels"]["device"] for alert in run.status()["alerts"] if alert["name"] == "KarmanDeviceSilent"
            ]
            assert silent == ["encrypted"]
            shown = karman("status", "--port", str(run.port)).stdout
            assert re.search(r"KarmanDeviceSilent +device encrypted +1 +once it has held for 5 s", shown), shown
            before = run.status()["devices"]["plain"]

            document["devices"][0]["server_key"] = public["pdu"]
            path.write_text(yaml.safe_dump(document))
            heard = until_true(lambda: (d := run.status()["devices"]["encrypted"])["received"] > 60 and d, 60)
            assert heard["connected"]
            after = run.status()["devices"]["plain"]
            assert (after["missing"], after["connections"]) == (0, before["connections"])
            shown = run.output() + (run.get("/api/v1/status") or "") + (run.get("/metrics") or "") + _processes()
            assert not [name for name, key in secret.items() if key in shown]
            assert run.end() == 0, run.output()
    finally:
        for publisher in publishers:
            publisher.terminate()
            publisher.wait(20)


def _key(path: Path, word: str) -> str:
    found = re.search(rf'{word}-key = "(.{{40}})"', path.read_text())
    assert found, path
    return found[1]


def _processes() -> str:
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
