"""The compose file, where no container can be run: what it names exists and fits together; its scripts do their work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import conninfo

from pipeline.adapters import configuration, embedded
from pipeline.adapters.timescale import schema
from tests.grafana import DASHBOARDS, FOLDER

COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
PROMETHEUS = yaml.safe_load((FOLDER / "compose" / "prometheus.yml").read_text())
SOURCES = {
    source["type"]: source
    for source in yaml.safe_load((FOLDER / "provisioning" / "datasources" / "karman.yaml").read_text())["datasources"]
}


def mounts(service: str) -> dict[str, str]:
    """What stands where in a service's container: target to source."""
    return {target: source for source, target, *_ in (text.split(":") for text in SERVICES[service]["volumes"])}


def test_what_is_mounted_exists_and_volumes_are_declared() -> None:
    for name, service in SERVICES.items():
        for source in mounts(name).values() if "volumes" in service else ():
            assert (FOLDER / source).exists() if source.startswith("./") else source in COMPOSE["volumes"], source
        for needed in service.get("depends_on", ()):
            assert needed in SERVICES
        if "build" in service:
            assert (FOLDER / service["build"]["context"]).resolve() == FOLDER.parent
            assert service["build"]["dockerfile"] == "ray-cluster/Dockerfile"


def test_ports_are_on_loopback_and_images_are_pinned() -> None:
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+(-pg\d+)?", service["image"]), service["image"]


def test_passwords_are_in_files_that_the_first_start_makes() -> None:
    text = "".join(path.read_text() for path in FOLDER.rglob("*") if path.suffix in (".yaml", ".yml", ".sh"))
    given = re.findall(r"(?i)password\w*: *(\S+)", text)
    assert set(given) == {
        "/secrets/owner/password",
        "/secrets/reader/password",
        "$__file{/secrets/reader/password}",
        "${GRAFANA_PASSWORD:-karman}",  # the demo's login, which is documented
    }
    for service, secret in (("pipeline", "owner"), ("grafana", "reader")):
        assert {source for source in mounts(service).values() if source.endswith("-secret")} == {f"{secret}-secret"}


def test_prometheus_scrapes_the_pipeline_and_loads_our_alert_rules(tmp_path: Path) -> None:
    (rules,) = PROMETHEUS["rule_files"]
    assert mounts("prometheus")[rules] == "./alerts/karman.rules.yaml"
    targets = [target for job in PROMETHEUS["scrape_configs"] for c in job["static_configs"] for target in c["targets"]]
    assert "pipeline:9105" in targets
    assert PROMETHEUS["global"]["scrape_interval"] == SOURCES["prometheus"]["jsonData"]["timeInterval"]
    if shutil.which("promtool") is None:
        if os.environ.get("KARMAN_TEST_REQUIRE_PROMETHEUS"):
            pytest.fail("promtool is required here and not installed")
        pytest.skip("promtool is not installed (Debian package prometheus)")
    here = tmp_path / "prometheus.yml"
    here.write_text(yaml.safe_dump(PROMETHEUS | {"rule_files": [str(FOLDER / "alerts" / "karman.rules.yaml")]}))
    checked = subprocess.run(["promtool", "check", "config", here], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_grafana_finds_the_dashboards_and_the_servers() -> None:
    assert mounts("grafana")["/etc/grafana/provisioning"] == "./provisioning"
    (provider,) = yaml.safe_load((FOLDER / "provisioning" / "dashboards" / "karman.yaml").read_text())["providers"]
    assert mounts("grafana")[provider["options"]["path"]] == "./dashboards"
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home.name in {path.name for path in DASHBOARDS}
    assert str(home.parent) == provider["options"]["path"]
    assert SOURCES["prometheus"]["url"] == "http://prometheus:9090"
    database = SOURCES["postgres"]
    assert database["url"] == "timescale:5432"
    assert database["jsonData"]["database"] == SERVICES["timescale"]["environment"]["POSTGRES_DB"]
    assert len({source["uid"] for source in SOURCES.values()}) == 2


def test_the_fleet_is_what_the_replay_publishes(tmp_path: Path) -> None:
    secret = tmp_path / "dsn"
    secret.write_text("postgresql://karman@timescale/karman")
    secret.chmod(0o600)
    file = tmp_path / "fleet.yaml"
    file.write_text((FOLDER / "compose" / "fleet.yaml").read_text().replace("/secrets/owner/dsn", str(secret)))
    config = configuration.load(file, {}, 0).config
    published = next(int(part.split("=")[1]) for part in SERVICES["replay"]["command"] if "--device-count" in part)
    assert [device.endpoint for device in config.devices] == [f"tcp://replay:{5557 + n}" for n in range(published)]
    assert {(device.rack, device.row, device.site) for device in config.devices} == {
        ("r42", "row-a", "demo"),
        ("r43", "row-a", "demo"),
    }
    assert (config.http_host, config.http_port) == ("0.0.0.0", 9105)


def make_secrets(folder: Path) -> dict[str, str]:
    subprocess.run(["sh", FOLDER / "compose" / "make-secrets.sh", folder], check=True)
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_scripts_make_an_owner_and_a_reader(tmp_path: Path) -> None:
    for name in ("owner", "reader"):
        (tmp_path / name).mkdir()
    secrets = make_secrets(tmp_path)
    assert make_secrets(tmp_path) == secrets, "a second start keeps them"
    owner, reader = secrets["owner/password"], secrets["reader/password"]
    assert len(owner) == len(reader) == 36
    assert secrets["owner/dsn"] == f"postgresql://karman:{owner}@timescale:5432/karman"
    with embedded.temporary() as dsn:
        parts = conninfo.conninfo_to_dict(dsn)
        subprocess.run(
            ["bash", FOLDER / "compose" / "make-reader.sh"],
            check=True,
            env={
                "PATH": f"{embedded.psql_path().parent}:{os.environ['PATH']}",
                "PGHOST": str(parts["host"]),
                "PGPASSWORD": str(parts.get("password") or ""),
                "POSTGRES_USER": str(parts["user"]),
                "POSTGRES_DB": str(parts["dbname"]),
                "READER_PASSWORD_FILE": str(tmp_path / "reader" / "password"),
            },
        )
        schema.migrate(dsn)
        with psycopg.connect(conninfo.make_conninfo(dsn, user="grafana", password=reader), autocommit=True) as viewer:
            assert viewer.execute("SHOW statement_timeout").fetchone() == ("30s",)
            assert viewer.execute("SELECT count(*) FROM cycle_by_phase").fetchone() == (0,)
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                viewer.execute("CREATE TABLE mine (a int)")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                viewer.execute("SELECT * FROM quarantine")
