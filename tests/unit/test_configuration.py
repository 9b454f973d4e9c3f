"""Fleet files: what a right one means, and that a wrong one is told in full, with places and the nearest right word."""

from __future__ import annotations

import json
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import jsonschema
import pytest
import yaml

from pipeline.adapters import configuration, curve
from pipeline.core.config import Breaker, Fleet, Limits, Metrics, PipelineConfig, Storage
from pipeline.core.errors import InputError
from pipeline.core.expectation import expect

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE, SCHEMA = DOCS / "fleet.example.yaml", DOCS / "fleet.schema.json"
ONE = "devices: [{id: pdu, endpoint: 'tcp://x:1'}]\n"


def write(folder: Path, **files: str) -> Path:
    """Files by name; the path of `fleet.yaml`."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_yaml", ".yaml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder / "fleet.yaml"


def loaded(folder: Path, text: str, **files: str) -> PipelineConfig:
    return configuration.load(write(folder, fleet_yaml=text, **files), {"KARMAN_DSN": "postgresql://x"}, 1).config


def complaints(folder: Path, text: str, **files: str) -> list[str]:
    """What is wrong, without the folder."""
    with pytest.raises(InputError) as caught:
        loaded(folder, text, **files)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def test_the_example_is_right_and_means_what_it_says() -> None:
    config = configuration.load(EXAMPLE, {}, 1, dsn="").config
    assert len(config.devices) == 80
    one = config.devices[41]
    assert (one.name, one.endpoint) == ("r21-B", "tcp://pdu-B.r21.example:5557")
    assert (one.rack, one.row, one.hall, one.site, one.feed) == ("r21", "row-b", "hall-1", "dc1", "B")
    assert (one.node, one.breaker_a, one.nominal_v, one.phases) == ("gpu-021", 60.0, 277.0, ("A", "B", "C"))
    assert config.breakers == (Breaker("row", "row-a", 800.0), Breaker("row", "row-b", 800.0))
    assert (config.storage, config.limits, config.metrics, config.fleet) == (Storage(), Limits(), Metrics(), Fleet())
    found = expect(config)
    assert found.members == {"rack": 40, "row": 2, "hall": 1, "site": 1, "feed": 2}
    assert (found.ingests, found.messages_hz, found.rows_hz, found.warnings) == (3, 4800.0, 14400.0, ())
    day_s, places = 86_400, (40 + 2 + 1 + 1 + 2) * 4  # phases A, B, C and all together
    assert found.disk_day_b[1] == day_s * (4800 * 453 + 80 * 1675 + places * 187)
    assert found.disk_held_b[0] == day_s * (3 * 4800 * 75 + 30 * (80 * 217 + places * 50))


def test_the_schema_is_current_and_the_example_keeps_to_it() -> None:
    assert SCHEMA.read_text() == configuration.schema()
    schema = json.loads(configuration.schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    checker = jsonschema.Draft202012Validator(schema)
    checker.validate(yaml.safe_load(EXAMPLE.read_text()))
    assert not checker.is_valid({"devices": [{"id": "x", "enpoint": "y"}]})
    assert not checker.is_valid({"storage": {"keep_cycles_s": "3 weeks"}})


@pytest.mark.parametrize("of", [Limits, Storage, Metrics, Fleet])
def test_every_setting_of_the_core_can_be_written(of: type) -> None:
    written = json.loads(configuration.schema())["$defs"][of.__name__]["properties"]
    assert set(written) == {field.name for field in fields(of)}


def test_defaults_of_a_file_that_says_nothing_are_those_of_the_command_line(tmp_path: Path) -> None:
    config = loaded(tmp_path, ONE)
    assert config == PipelineConfig(config.devices, "postgresql://x", 1, fleet=Fleet())
    assert config.devices[0].phases == ("A", "B", "C")
    assert config.devices[0].channels == ("a",)


def test_sums_that_would_hold_nothing_are_refused(tmp_path: Path) -> None:
    assert loaded(tmp_path, ONE + "fleet: {wait_s: 50, flush_s: 49}\n").fleet_settings is not None
    assert complaints(tmp_path, ONE + "fleet:\n  wait_s: 1m\n") == [
        "fleet.yaml:3: fleet.wait_s: the sums wait 50 s at most"
    ]
    assert complaints(tmp_path, ONE + "fleet:\n  flush_s: 3\n") == [
        "fleet.yaml:3: fleet.flush_s: what is handed on only every 3 s is late where the sums wait 1 s"
    ]


def test_times_and_sizes_may_be_written_as_people_do(tmp_path: Path) -> None:
    text = ONE + "storage: {keep_cycles_s: 2.5h, keep_1s_s: 90, chunk_s: 15m, spool_bytes: 512MiB}\nwindow_s: 2\n"
    config = loaded(tmp_path, text)
    assert config.storage == Storage(keep_cycles_s=9000.0, keep_1s_s=90.0, chunk_s=900.0, spool_bytes=512 << 20)
    assert config.window_s == 2.0


def test_included_files_have_defaults_of_their_own_and_know_the_topology(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        "include: [racks/*.yaml]\ntopology: {s: {h: {w: [r1, r2]}}}\ndefaults: {breaker_a: 32, feed: A}\n",
        racks__one_yaml="defaults: {rack: r1}\ndevices: [{id: a, endpoint: 'tcp://a:1'}]\n",
        racks__two_yaml="defaults: {feed: B}\ndevices: [{id: b, endpoint: 'tcp://b:1', rack: r2}]\n",
    )
    assert [(d.name, d.rack, d.row, d.feed, d.breaker_a) for d in config.devices] == [
        ("a", "r1", "w", "A", 32.0),
        ("b", "r2", "w", "B", 32.0),
    ]


def test_the_files_that_count_are_told(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        fleet_yaml="include: [more.yaml]\nhttp: {token_file: token}\ndatabase: {dsn_file: dsn}\n",
        more_yaml=ONE,
        token="secret\n",
        dsn="postgresql://u:p@h/d\n",
    )
    found = configuration.load(path, {}, 1)
    assert {file.name for file in found.files} == {"fleet.yaml", "more.yaml", "token", "dsn"}
    assert (found.config.token, found.config.dsn) == ("secret", "postgresql://u:p@h/d")
    assert "secret" not in repr(found)


def test_encryption_is_told_by_device_or_for_all_and_our_keys_are_checked(tmp_path: Path) -> None:
    keys = curve.make_files(tmp_path, "ours")[2]
    key, other = curve.new_pair().public.decode(), curve.new_pair().public.decode()
    told = {
        "defaults": {"server_key": key},
        "devices": [{"id": "a", "endpoint": "tcp://a:1"}, {"id": "b", "endpoint": "tcp://b:1", "server_key": other}],
        "security": {"curve": {"client_secret_file": "ours.key_secret", "require": True}},
    }
    config = loaded(tmp_path, yaml.safe_dump(told))
    assert [device.server_key for device in config.devices] == [key, other]
    assert config.curve_keys_file == str(tmp_path / "ours.key_secret")
    assert keys.secret.decode() not in repr(config)

    (tmp_path / "ours.key_secret").chmod(0o604)
    assert ["anybody may read" in line for line in complaints(tmp_path, yaml.safe_dump(told))] == [True]
    told["security"] = {"curve": {"client_secret_file": "absent", "require": True}}
    told["defaults"] = {}
    told["devices"] = [
        {"id": "c", "endpoint": "tcp://c:1"},
        {"id": "d", "endpoint": "tcp://d:1", "server_key": "short"},
    ]
    said = complaints(tmp_path, yaml.safe_dump(told))
    for words in ("no public key", "has no 'server_key'", "cannot read the key file"):
        assert [words in line for line in said].count(True) == 1, said


def test_a_stream_may_be_another_phase_or_none(tmp_path: Path) -> None:
    text = "devices: [{id: x, endpoint: 'tcp://x:1', channels: [a, b], phases: {threephase/karman3: A}}]\n"
    device = loaded(tmp_path, text).devices[0]
    assert device.phases == ("", "", "A")
    assert device.channels == ("a", "b")


def test_everything_that_is_wrong_is_said_at_once_with_its_line(tmp_path: Path) -> None:
    text = """\
http: {hots: 0.0.0.0, port: 70000}
database: {dsn: postgresql://karman:secret@db/power}
devces: []
devices:
  - id: a
    enpoint: tcp://10.0.0.1:5557
  - {id: 7, endpoint: "tcp://x:1", phases: {threephase/karman1: D}, breaker_a: -1}
storage: {keep_cycles_s: 3 weeks, spool_bytes: 0}
devices_per_actor: 2.5
limits: 5
"""
    said = complaints(tmp_path, text)
    assert [line.split(":")[1] for line in said] == [
        "1",
        "1",
        "2",
        "3",
        "5",
        "6",
        "7",
        "7",
        "7",
        "8",
        "8",
        "9",
        "10",
    ]  # as they stand in the file
    assert set(said) == {
        "fleet.yaml:1: http.hots: unknown key; did you mean 'host'?",
        "fleet.yaml:1: http.port: input should be less than or equal to 65535",
        "fleet.yaml:2: database.dsn: a DSN may hold a password and does not belong here: give dsn_env or dsn_file",
        "fleet.yaml:3: devces: unknown key; did you mean 'devices'?",
        "fleet.yaml:5: devices[0].endpoint: this is required",
        "fleet.yaml:6: devices[0].enpoint: unknown key; did you mean 'endpoint'?",
        "fleet.yaml:7: devices[1].phases.threephase/karman1: 'D' is not 'A', 'B' or 'C'",
        "fleet.yaml:7: devices[1].breaker_a: input should be greater than 0",
        "fleet.yaml:7: devices[1].id: text is wanted; put it in quotes, not 7",
        "fleet.yaml:8: storage.keep_cycles_s: write seconds, or a number with s, m, h or d, for example 10m",
        "fleet.yaml:8: storage.spool_bytes: input should be greater than 0",
        "fleet.yaml:9: devices_per_actor: a whole number is wanted, not 2.5",
        "fleet.yaml:10: limits: keys with values are wanted, not 5",
    }


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ["fleet.yaml: no device is given: write at least one under 'devices'"]),
        ("devices: [", ["fleet.yaml:1: this is not YAML: expected the node content, but found '<stream end>'"]),
        ("[1, 2]", ["fleet.yaml: keys with values are wanted, not [1, 2]"]),
        ("a: 1\na: 2\n", ["fleet.yaml:2: 'a' is given twice, first on line 1"]),
        ("x: !!python/object/apply:os.system [ls]", None),
        ("x: \x01", None),
        (
            ONE + "breakers_a: {rack: {r1: 60}}",
            ["fleet.yaml:2: breakers_a.rack.r1: no device belongs to this rack"],
        ),
        (
            "topology: {fleet: {fleet: {fleet: [fleet]}}}\n" + ONE,  # only a site has this name already
            [
                "fleet.yaml:1: topology.fleet: 'fleet' is the site of devices without any place: give this one another name"
            ],
        ),
        (
            "topology: {s: {h: {w: [r1, 'r{1..2}'], v: [r1], u: ['r{2..1}']}}}\n" + ONE,
            [
                "fleet.yaml:1: topology.s.h.w[1]: the rack 'r1' is on line 1 already; names of a level must be unique",
                "fleet.yaml:1: topology.s.h.v[0]: the rack 'r1' is on line 1 already; names of a level must be unique",
                "fleet.yaml:1: topology.s.h.u[0]: the range 2..1 goes back: write 1..2",
            ],
        ),
        (
            "devices: [{id: p, endpoint: 'tcp://x:1'}, {id: p, endpoint: 'tcp://x:1'}]",
            [
                "fleet.yaml:1: devices[1]: the id 'p' is given twice, first at fleet.yaml:1",
                "fleet.yaml:1: devices[1]: the endpoint 'tcp://x:1' is given twice, first at fleet.yaml:1",
            ],
        ),
        (
            "devices:\n - {id: p, endpoint: 'tcp://{n}:1', each: {n: 1..2}}\n",
            ["fleet.yaml:2: devices[0]: the pattern gives the id 'p' twice: a field of 'each' is missing in it"],
        ),
        (
            "devices: [{id: 'a b', endpoint: 'tcp://x:1'}, {id: b, endpoint: 'x:1'}, {id: '{m}', endpoint: 'tcp://y:1'}]",
            [
                "fleet.yaml:1: devices[0]: 'a b' cannot be a device's name: use letters, digits and . : / @ + - _",
                "fleet.yaml:1: devices[1]: 'x:1' is not an endpoint: write tcp://HOST:PORT, for example"
                " tcp://10.0.0.7:5557",
                "fleet.yaml:1: devices[2]: '{m}' names {m}, which has no values: 'each' has index",
            ],
        ),
        (
            "devices: [{id: p, endpoint: 'tcp://x:1', phases: {karman1: A}}]",
            [
                "fleet.yaml:1: devices[0]: 'phases' names 'karman1', which is none of 'streams'; did you mean"
                " 'threephase/karman1'?"
            ],
        ),
        ("include: ['no/*.yaml']\n" + ONE, ["fleet.yaml:1: include[0]: 'no/*.yaml' matches no file"]),
        ("include: ['']\n" + ONE, ["fleet.yaml:1: include[0]: '' matches no file"]),
        (
            ONE + "http: {token_file: none}",
            ["fleet.yaml:2: http.token_file: cannot read the token in none: No such file or directory"],
        ),
        (
            ONE + "database: {dsn_env: OTHER}",
            ["fleet.yaml:2: database.dsn_env: the environment variable OTHER is not set"],
        ),
    ],
)
def test_what_cannot_be(tmp_path: Path, text: str, wanted: list[str] | None) -> None:
    said = complaints(tmp_path, text)
    assert len(said) == 1 if wanted is None else said == wanted


def test_an_included_file_is_named_in_its_complaints(tmp_path: Path) -> None:
    files = {"a.inc": "devices: [{id: a}]\nhttp: {}\n", "b.inc": "{", "c.inc": "topology: {}"}
    assert complaints(tmp_path, "include: ['*.inc']\n", **files) == [
        "a.inc:1: devices[0].endpoint: this is required",
        "a.inc:2: http: unknown key; there are defaults, devices",
        "b.inc:1: this is not YAML: expected the node content, but found '<stream end>'",
        "c.inc:1: topology: unknown key; there are defaults, devices",
    ]


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*fleet\.yaml: No such file or directory"):
        configuration.load(tmp_path / "fleet.yaml", {}, 1)


def test_what_is_odd_but_not_wrong_is_noted(tmp_path: Path) -> None:
    text = """\
http: {host: 0.0.0.0}
topology: {s: {h: {w: [r1]}}}
devices:
  - {each: {n: 1..20}, id: 'p{n}', endpoint: 'tcp://h{n}:1', rack: r1, breaker_a: 60}
  - {id: lone, endpoint: 'tcp://x:1', mains_hz: 50}
  - {id: far, endpoint: 'tcp://y:1', rack: r2, phases: {}}
"""
    notes = expect(loaded(tmp_path, text)).warnings
    assert [note.split(":")[0] for note in notes] == [
        "lone have no rack",
        "r2 are racks outside 'topology'",
        "lone, far have no breaker rating",
        "far have no stream with a phase",
        "22 ingests take about 2.1 GiB of memory",
        "whoever reaches 0.0.0.0",
        "devices of 50 and 60 Hz are added up on one grid of 60 Hz",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "topology: &t\n  dc1: *t\n",
        "{a: " * 3000,
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{b}: &{b} [{', '.join(['*' + a] * 10)}]\n" for a, b in pairwise("abcdefgh")),
    ],
    ids=["an anchor that holds itself", "nested too deeply", "anchors that multiply"],
)
def test_a_file_without_end_is_refused_in_a_line(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, fleet_yaml=text)
    with pytest.raises(InputError, match=r"fleet\.yaml") as caught:
        configuration.load(path, {}, 0)
    assert len(str(caught.value).splitlines()) == 1
