"""Recordings: found by name, read to the bit, checked to the line and column, written the same each time."""

from __future__ import annotations

import gzip
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from pipeline.adapters import recordings
from pipeline.adapters.recordings import SIMULATED, check, datasets_folder, load, read, resolve, write
from pipeline.cli.recordings import app
from pipeline.core.errors import InputError
from pipeline.core.model import STREAMS, VALUE_COLUMNS, value_columns
from pipeline.simulation.scenarios import SCENARIOS, simulate

HEADER = (
    "time,stream_name,phase,rms_voltage,dc_offset_voltage,rms_current,dc_offset_current,"
    "real_power,apparent_power,reactive_power,power_factor,sequence_number"
)
VALUES = "120.1,0.01,30.2,0.02,3600,3627.02,-120.5,0.99255"


def row(time_ms: object, stream: str = "karman1", phase: str = "phase_a", values: str = VALUES, seq: object = 7) -> str:
    return f"{time_ms},{stream},{phase},{values},{seq}"


def csv(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "mine.csv"
    path.write_text("\n".join((header, *rows, "")))
    return path


def found(path: Path) -> list[tuple[int, str, str]]:
    return [(finding.line, finding.column, finding.severity) for finding in check(path)]


class TestResolve:
    @pytest.mark.parametrize(
        "name",
        [
            "sample2",
            "sample2.csv",
            "sample2-b200-static-powercap",
            "sample2-b200-static-powercap.csv",
            "sample2-b200-static-powercap.csv.gz",
        ],
    )
    def test_names(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert resolve(name) == datasets_folder() / "sample2-b200-static-powercap.csv.gz"

    def test_a_path_is_taken_as_it_is(self, tmp_path: Path) -> None:
        path = csv(tmp_path, row(0))
        assert resolve(str(path)) == path

    def test_a_plain_csv_that_was_dropped_in_hides_ours(self, tmp_path: Path) -> None:
        ours = datasets_folder() / f"{SCENARIOS[0].name}.csv.gz"
        shutil.copy(ours, tmp_path)
        assert resolve("sample1", tmp_path).suffix == ".gz"
        theirs = csv(tmp_path, row(0)).rename(tmp_path / f"{SCENARIOS[0].name}.csv")
        assert resolve("sample1", tmp_path) == theirs
        assert not read(theirs).simulated

    @pytest.mark.parametrize(
        ("name", "message"),
        [("smaple2", "did you mean sample2"), ("unlike", "known are sample1-b200"), ("/none/x.csv", "no recording at")],
    )
    def test_unknown_ones_are_refused_in_one_line(self, name: str, message: str) -> None:
        with pytest.raises(InputError, match=message) as caught:
            resolve(name)
        assert "\n" not in str(caught.value)

    def test_a_folder_is_no_recording(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no recording at"):
            resolve(str(tmp_path))


class TestShipped:
    @pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name.split("-")[0])
    def test_is_sound_and_says_that_it_is_simulated(self, scenario: object) -> None:
        recording = load(scenario.name)  # type: ignore[attr-defined]
        assert check(recording.path) == []
        assert recording.simulated
        assert 59.95 < recording.rate_hz < 59.98
        seconds = recording.frame_count / recording.rate_hz
        assert 180.0 <= seconds <= 360.0
        cycles = recording.cycles
        assert cycles.schema.names == ["frame", "stream", "sequence", *VALUE_COLUMNS]
        assert cycles["stream"].to_pylist() == list(STREAMS) * recording.frame_count
        assert cycles["sequence"].equals(cycles["frame"])
        for a, b in zip(value_columns("a"), value_columns("b"), strict=True):
            assert cycles[a].type == pa.float32()
            assert cycles[a].null_count == 0
            assert cycles[b].null_count == cycles.num_rows


class TestRead:
    def test_values_are_the_decimals_rounded_once(self, tmp_path: Path) -> None:
        # Halfway between two 32-bit floats plus a little: by way of 64 bits it would round to the other neighbour.
        decimal = "1.00000017881393432617187499"
        path = csv(tmp_path, row(0, values=f"{decimal},1e-3,+2,.5,1,1,1.,0.1"))
        cycles = read(path).cycles
        got = [cycles[name][0].as_py() for name in value_columns("a")]
        wanted = [np.nextafter(np.float32(1), np.float32(2)), 1e-3, 2.0, 0.5, 1.0, 1.0, 1.0, 0.1]
        assert got == [float(np.float32(number)) for number in wanted]
        assert np.float32(np.float64(decimal)) != got[0]

    def test_both_phases_stand_side_by_side(self, tmp_path: Path) -> None:
        path = csv(
            tmp_path,
            row(0, "karman2", "phase_b", "1,,,,,,,", 4),
            row(0, "karman1", "phase_a", "2,,,,,,,", 4),
            row(0, "karman2", "phase_a", "3,,,,,,,nan", 4),
            row(17, "karman1", "phase_b", "5,,,,,,,", 5),
        )
        cycles = read(path).cycles
        assert cycles["frame"].to_pylist() == [0, 0, 1]
        assert cycles["stream"].to_pylist() == ["threephase/karman2", "threephase/karman1", "threephase/karman1"]
        assert cycles["sequence"].to_pylist() == [4, 4, 5]
        assert cycles["a_rms_voltage_v"].to_pylist() == [3.0, 2.0, None]
        assert cycles["b_rms_voltage_v"].to_pylist() == [1.0, None, 5.0]
        assert cycles["a_power_factor"].null_count == 3

    def test_rows_of_one_time_are_one_frame_wherever_they_stand(self, tmp_path: Path) -> None:
        times = [16, 33, 50]
        rows = [row(time_ms, stream) for stream in ("karman1", "karman2", "karman3") for time_ms in times]
        path = csv(tmp_path, *rows)
        assert check(path) == []
        recording = read(path)
        assert recording.time_ms.to_pylist() == times
        assert recording.cycles["stream"].to_pylist() == list(STREAMS) * 3

    def test_frames_keep_the_order_of_the_file(self, tmp_path: Path) -> None:
        path = csv(tmp_path, row(50), row(16), row(33))
        assert read(path).time_ms.to_pylist() == [50, 16, 33]
        assert found(path) == [(3, "time", "warning")]

    @pytest.mark.parametrize("header", [HEADER, HEADER.removesuffix(",sequence_number")])
    def test_without_sequence_numbers_the_frames_are_counted(self, tmp_path: Path, header: str) -> None:
        rows = [row(time_ms, seq="") for time_ms in (0, 17, 33)]
        if header != HEADER:
            rows = [one.removesuffix(",") for one in rows]
        assert read(csv(tmp_path, *rows, header=header)).cycles["sequence"].to_pylist() == [0, 1, 2]

    def test_columns_may_stand_in_any_order_and_have_company(self, tmp_path: Path) -> None:
        path = csv(tmp_path, f"x,{VALUES},phase_a,karman3,123", header="note," + ",".join(
            [*HEADER.split(",")[3:11], "phase", "stream_name", "time"]
        ))  # fmt: skip
        assert found(path) == [(1, "note", "warning")]
        assert read(path).cycles["a_real_power_w"].to_pylist() == [3600.0]

    @pytest.mark.parametrize("ending", ["\r\n", "\n\n", "\n   \n"])
    def test_foreign_line_ends_and_blank_lines(self, tmp_path: Path, ending: str) -> None:
        path = tmp_path / "mine.csv"
        path.write_bytes(b"\xef\xbb\xbf" + ending.join((HEADER, row(0), row(17), "")).encode())
        assert check(path) == []
        assert read(path).frame_count == 2

    def test_stream_names_of_the_wire_will_do(self, tmp_path: Path) -> None:
        assert read(csv(tmp_path, row(0, "threephase/karman2"))).cycles["stream"].to_pylist() == [STREAMS[1]]

    def test_gzip_is_known_by_its_content(self, tmp_path: Path) -> None:
        path = csv(tmp_path, row(0))
        path.write_bytes(gzip.compress(path.read_bytes()))
        assert read(path).frame_count == 1
        assert not read(path).simulated

    def test_a_rate_needs_two_frames(self, tmp_path: Path) -> None:
        assert np.isnan(read(csv(tmp_path, row(0))).rate_hz)
        assert read(csv(tmp_path, row(0), row(20), row(40))).rate_hz == pytest.approx(50.0)

    def test_the_first_error_is_raised(self, tmp_path: Path) -> None:
        path = csv(tmp_path, row(0), row("x"), row(17, "karman9"))
        with pytest.raises(InputError, match=r"mine\.csv: line 3, column time: 'x' is not a time"):
            read(path)


class TestCheck:
    @pytest.mark.parametrize(
        ("bad", "column", "severity", "message"),
        [
            (row(""), "time", "error", "empty"),
            (row("2025-01-01"), "time", "error", "milliseconds"),
            (row(17.5), "time", "error", "whole milliseconds"),
            (row(-17), "time", "error", "below 0"),
            (row(17, "karman4"), "stream_name", "error", "karman1, karman2, karman3"),
            (row(17, phase="A"), "phase", "error", "phase_a, phase_b"),
            (row(17, phase=""), "phase", "error", "phase_a, phase_b"),
            (row(17, values=VALUES.replace("3600,", "3k6,")), "real_power", "error", "'3k6' is not a number"),
            (row(17, values=VALUES.replace("30.2", "inf")), "rms_current", "error", "'inf' is not a number"),
            (row(17, values=VALUES.replace("30.2", "1e39")), "rms_current", "error", "32 bits"),
            (row(17, values=VALUES.replace("30.2", "-30.2")), "rms_current", "error", "below 0"),
            (row(17, seq="-1"), "sequence_number", "error", "below 0"),
            (row(17, seq="x"), "sequence_number", "error", "whole number"),
            (row(17, seq=""), "sequence_number", "warning", "gets its index"),
            (row(0), "time", "error", "second row"),
            (row(17, values=VALUES.replace("3600,", "3700,")), "real_power", "warning", "exceeds"),
            (row(17, values=VALUES.replace("0.99255", "1.01")), "power_factor", "warning", "outside"),
            (row(17) + ",1", "", "error", "13 cells"),
            ("17,karman1", "", "error", "2 cells"),
        ],
    )
    def test_names_line_and_column(self, tmp_path: Path, bad: str, column: str, severity: str, message: str) -> None:
        path = csv(tmp_path, row(0), "", bad, row(33))
        (finding,) = check(path)
        assert (finding.line, finding.column, finding.severity) == (4, column, severity)
        assert message in finding.message

    @pytest.mark.parametrize(
        ("header", "column", "message"),
        [
            (HEADER.replace("rms_current", "rms_curent"), "rms_current", "is 'rms_curent' meant"),
            (HEADER.replace("phase,", ""), "phase", "missing; wanted are"),
            (HEADER + ",time", "time", "more than once"),
            (HEADER.replace("time", "Time"), "time", "is 'Time' meant"),
            (HEADER.replace(",", ";"), "", "separated by ';': wanted are commas"),
            (HEADER.replace(",", "\t"), "", "separated by tabs"),
            (HEADER + "\r0,karman1", "", "lines end in carriage returns"),
        ],
    )
    def test_headers(self, tmp_path: Path, header: str, column: str, message: str) -> None:
        finding = check(csv(tmp_path, row(0), header=header))[0]
        assert (finding.line, finding.column, finding.severity) == (1, column, "error")
        assert message in finding.message

    @pytest.mark.parametrize("content", [b"", b"\n", HEADER.encode(), HEADER.encode() + b"\n\n"])
    def test_files_without_rows(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "mine.csv"
        path.write_bytes(content)
        assert [finding.severity for finding in check(path)] == ["error"]

    def test_a_cut_off_last_line(self, tmp_path: Path) -> None:
        path = csv(tmp_path, row(0), row(17))
        path.write_bytes(path.read_bytes()[:-40])
        assert (3, "", "error") in found(path)
        path = csv(tmp_path, row(0), row(17))
        path.write_bytes(path.read_bytes()[:-1])
        assert found(path) == [(3, "", "warning")]

    @pytest.mark.parametrize("kept", [12, 30, 200, -8, -1])
    def test_a_cut_off_gzip(self, tmp_path: Path, kept: int) -> None:
        path = csv(tmp_path, *(row(17 * number, values=f"{number}" + ",1" * 7) for number in range(100)))
        path.write_bytes(gzip.compress(path.read_bytes())[:kept])
        findings = check(path)
        assert any("cut off" in finding.message and finding.severity == "error" for finding in findings)
        with pytest.raises(InputError):
            read(path)

    @pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
    def test_a_text_that_is_too_large_is_not_read_to_its_end(
        self, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(recordings, "LARGEST", 1 << 20)
        path = tmp_path / f"large{suffix}"
        text = (HEADER + "\n").encode() + b"1,a/s,phase_a,1,1,1,1,1,0,0,0\n" * (1 << 20)  # 30 MB
        path.write_bytes(gzip.compress(text, 1) * 2 if suffix.endswith("gz") else text)
        tracemalloc.start()
        with pytest.raises(InputError, match="more than 1 MiB of text: split it"):
            recordings.check(path)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 16 << 20

    def test_a_damaged_gzip(self, tmp_path: Path) -> None:
        path = csv(tmp_path, row(0))
        damaged = bytearray(gzip.compress(path.read_bytes()))
        damaged[-6] ^= 1
        path.write_bytes(damaged)
        assert "damaged gzip" in check(path)[0].message

    def test_other_encodings(self, tmp_path: Path) -> None:
        path = csv(tmp_path, row(0))
        path.write_bytes(path.read_bytes() + b"17,karman1,phase_\xe4\n")
        (finding,) = check(path)
        assert (finding.line, finding.severity) == (3, "error")
        assert "0xe4" in finding.message

    @pytest.mark.parametrize("content", [b"\x00\x01\x02", b'"', b'"\n"', b"a,b\n1,2\n", b"\x89PNG\r\n"])
    def test_anything_else(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "mine.csv"
        path.write_bytes(content)
        assert any(finding.severity == "error" for finding in check(path))

    def test_quotes_that_never_close(self, tmp_path: Path) -> None:
        path = csv(tmp_path, row(0), '"' + row(17), row(33))
        assert any(finding.severity == "error" and finding.line == 3 for finding in check(path))

    def test_times_in_another_unit(self, tmp_path: Path) -> None:
        path = csv(tmp_path, *(row(1_735_689_600_000_000 + 16_667 * number) for number in range(5)))
        (finding,) = check(path)
        assert (finding.line, finding.column, finding.severity) == (3, "time", "warning")

    def test_findings_are_bounded_and_errors_come_before_warnings(self, tmp_path: Path) -> None:
        bad = ["x,y,z" + ",?" * 8 + ",q"] * 500
        findings = check(csv(tmp_path, *bad))
        assert len(findings) == recordings.FINDINGS_LIMIT
        path = csv(tmp_path, *bad[:50], *(row(number, values="-1" + ",2" * 7) for number in range(50)))
        assert {finding.severity for finding in check(path)} == {"error"}
        assert any("lines more" in finding.message for finding in check(path))

    def test_unreadable_files_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="cannot read"):
            check(tmp_path / "none.csv")


class TestWrite:
    def test_what_is_written_reads_back_to_seven_digits_and_says_simulated(self, tmp_path: Path) -> None:
        table = simulate(SCENARIOS[2], duration_s=2.0)
        path = tmp_path / "other.csv.gz"
        write(path, table)
        first = path.read_bytes()
        write(path, table)
        assert path.read_bytes() == first
        assert SIMULATED in first
        recording = read(path)
        assert recording.simulated
        assert recording.name == "other"
        for name in value_columns("a"):
            got = recording.cycles[name].to_numpy(zero_copy_only=False)
            np.testing.assert_allclose(got, table[name].to_numpy(), rtol=6e-7)

    def test_unknown_is_an_empty_cell(self, tmp_path: Path) -> None:
        table = simulate(SCENARIOS[0], duration_s=0.1)
        at = table.schema.get_field_index("a_power_factor")
        write(tmp_path / "x.csv.gz", table.set_column(at, "a_power_factor", pa.array([np.nan] * len(table))))
        assert read(tmp_path / "x.csv.gz").cycles["a_power_factor"].null_count == len(table)

    def test_a_plain_csv_could_not_say_simulated(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"\.csv\.gz"):
            write(tmp_path / "x.csv", simulate(SCENARIOS[0], duration_s=0.1))

    def test_unwritable_places_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="cannot write"):
            write(tmp_path / "none" / "x.csv.gz", simulate(SCENARIOS[0], duration_s=0.1))


class TestCommands:
    def run(self, *arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, arguments)
        if isinstance(result.exception, InputError):  # `pipeline.cli.main` prints these, and exits with 2
            return 2, result.output + str(result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    def test_list(self) -> None:
        code, output = self.run("list")
        assert code == 0
        for scenario in SCENARIOS:
            (line,) = [line for line in output.splitlines() if line.startswith(scenario.name)]
            assert "simulated" in line

    def test_check(self, tmp_path: Path) -> None:
        assert self.run("check", "sample1")[0] == 0
        code, output = self.run("check", str(csv(tmp_path, row(0), row(17, "karman9"))))
        assert code == 2
        assert "line 3, column stream_name" in output
        code, output = self.run("check", str(csv(tmp_path, row(33), row(17))))
        assert code == 0
        assert "warning" in output
        assert self.run("check", "nothing")[0] == 2

    def test_simulate(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        code, output = self.run("simulate", "sample4", "--duration", "1", "--seed", "9")
        assert code == 0
        assert "karman demo sample4-b200-partial-dynamic-powercap.csv.gz" in output
        assert read(tmp_path / "sample4-b200-partial-dynamic-powercap.csv.gz").frame_count in (58, 59)
        assert self.run("simulate", "--all", "--duration", "0.5", "--output", str(tmp_path))[0] == 0
        assert len(list(tmp_path.glob("*.csv.gz"))) == 4

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["sample1", "--all"],
            ["sample9"],
            ["sample1", "--duration", "9999"],
            ["sample1", "--duration", "0"],
            ["sample1", "--duration", "1", "--output", "x.csv"],
            ["sample1", "--duration", "1", "--output", "none/x.csv.gz"],
            ["--all", "--duration", "1", "--output", "x.csv.gz"],
            ["sample1", "--seed", "-1"],
        ],
    )
    def test_simulate_refuses(self, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert self.run("simulate", *arguments)[0] == 2
        assert list(tmp_path.iterdir()) == []
