"""What a run's CSV files and crashes/ hold, whatever its names and texts are."""

from __future__ import annotations

import re

import pytest
from journals import attempt, failed, gave_up, plan, planned, read_csv, report_of, started

from orchestrator.errors import RunFolderError
from orchestrator.reports.csv_files import safe_cell
from schemas.records import (
    Crash,
    LoadTimes,
    MemoryPeak,
)

TEN_COLUMNS = (
    "Model,Snippet,Transcript,Reference,WER,Time_Sec,RTF,Peak_RAM_MB,Load_Time_Sec,Error".split(",")
)


def test_results_csv_has_the_promised_columns_first_and_the_figures_of_its_row(tmp_path):
    load = LoadTimes(total_s=2.5, spawn_s=0.1, interpreter_s=0.4, imports_s=1.0, weights_s=1.0)
    memory = MemoryPeak(peak_bytes=123_456_789, method="cgroup")
    low = memory.model_copy(update={"peak_bytes": 10**8, "bound": "lower"})
    done = attempt(
        "a", "red green", audio_s=4.0, time_s=0.5, load=load, memory=memory, load_memory=memory,
        attempt_memory=low, nth=1,
    )  # fmt: skip
    report_of(tmp_path, plan(planned("a"), planned("b")), started(), done)
    first, second = read_csv(tmp_path / "results.csv")
    assert list(first)[:10] == TEN_COLUMNS
    assert [first[column] for column in TEN_COLUMNS] == [
        "m", "a", "red green", "red green blue pink", "0.5", "0.5", "0.125", "123.457", "2.5", "",
    ]  # fmt: skip
    assert (first["RTFx"], first["Deletions"], first["Outcome"]) == ("8.0", "2", "ok")
    bounds = [f"Peak_RAM_{part}_Bound" for part in ("Load", "Attempt")]
    assert [first[one] for one in bounds] == ["exact", "lower"]
    # programs may read by position: columns are added at the end
    assert list(first)[-5:] == [*bounds, "Fell_Back", "Batch", "Batch_Sec"]
    assert (first["Batch"], first["Batch_Sec"]) == ("1", "")
    assert (second["Transcript"], second["WER"], second["Time_Sec"]) == ("", "", "")
    assert "--resume" in second["Error"]
    (summary,) = read_csv(tmp_path / "summary.csv")
    assert (summary["WER"], summary["Ok"], summary["Not_Run"]) == ("0.5", "1", "1")
    bounds = [f"Peak_RAM_{part}_Bound" for part in ("Load", "First", "Steady")]
    assert [summary[one] for one in bounds] == ["exact", "lower", ""]
    of_batches = ["Batch", "Batch_Rows", "Batch_Checked", "Batch_Changed"]
    assert list(summary)[-7:] == [*bounds, *of_batches]
    assert "|snippets:1of2:5e75e75e75e7|" in summary["Signature"]


def test_each_line_of_summary_csv_has_the_signature_of_its_model_alone(tmp_path):
    asked = plan(planned("a"), models=("x", "y"))
    lines = [
        line
        for model, device in (("x", "cpu"), ("y", "cuda:0"))
        for line in (started(model), attempt("a", model=model, device=device))
    ]
    report = report_of(tmp_path, asked, *lines)
    assert report.signature.endswith("|device:cpu+cuda:0")
    devices = [line["Signature"].split("|")[-1] for line in read_csv(tmp_path / "summary.csv")]
    assert devices == ["device:cpu", "device:cuda:0"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_a_text_that_a_spreadsheet_would_run_becomes_a_text(tmp_path, start):
    text = f"{start}cmd|' /C calc'!A0"
    report_of(
        tmp_path, plan(planned("a", text), planned(text, error=text)), started(), attempt("a", text)
    )
    first, second = read_csv(tmp_path / "results.csv")
    for cell in (first["Transcript"], first["Reference"], second["Snippet"], second["Error"]):
        assert cell == "'" + text
    assert [safe_cell(value) for value in (-0.5, -3, None, "a=b")] == [-0.5, -3, None, "a=b"]


@pytest.mark.parametrize(
    "text", ['he said "no", twice', "two\nlines\r\nand more\r", "naïve 你好 🎧 א", "a,b;c\td", "'"]
)
def test_any_text_survives_results_csv(tmp_path, text):
    report_of(tmp_path, plan(planned("a", text)), started(), attempt("a", text), gave_up())
    (row,) = read_csv(tmp_path / "results.csv")
    assert (row["Transcript"], row["Reference"]) == (text, text)


def crashed(snippet, **other):
    crash = Crash(
        exit="signal 11",
        stack=None,
        log_tail="",
        last_frames="",
        lock_sha256="l",
        replay="again",
        memory_curve=(),
        kernel_lines=(),
    )
    return failed(snippet, crash=crash, **other)


@pytest.mark.parametrize("separator", [";", "\t", "\r", "\n", "\r\n"])
@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_a_formula_behind_another_separator_becomes_a_text(tmp_path, separator, start):
    """In a German Excel a semicolon begins a cell, and a quote inside of one means nothing."""
    text = f'hi{separator}{start}HYPERLINK("http://x","y"){separator}"{start}1&"'
    report_of(tmp_path, plan(planned("a", text)), started(), attempt("a", text), gave_up())
    whole = (tmp_path / "results.csv").read_bytes().decode("utf-8")
    cells = re.split("[;\t\r\n]", whole)
    assert len([cell for cell in cells if "HYPERLINK" in cell]) == 2
    for cell in cells:
        assert not cell.lstrip('"').startswith(start)
    (row,) = read_csv(tmp_path / "results.csv")
    assert row["Transcript"].replace("'", "") == text


def test_a_name_of_long_letters_makes_a_file_name_that_every_disk_takes(tmp_path):
    name = "𠮷" * 62
    report_of(tmp_path, plan(planned(name)), started(), crashed(name))
    (file,) = (tmp_path / "crashes").iterdir()
    assert re.fullmatch(r"001-m-𠮷+\.txt", file.name)
    assert 100 < len(file.name.encode("utf-8")) <= 158
    assert name in file.read_text(encoding="utf-8")


def test_a_crash_file_that_cannot_be_written_costs_no_csv_file(tmp_path):
    (tmp_path / "crashes").write_text("in the way", encoding="utf-8")
    with pytest.raises(RunFolderError):
        report_of(tmp_path, plan(planned("a")), started(), crashed("a"))
    assert len(read_csv(tmp_path / "results.csv")) == len(read_csv(tmp_path / "summary.csv")) == 1


def test_the_crash_files_are_those_of_the_journal_and_no_others(tmp_path):
    asked = plan(planned("a"), planned("b"))
    report_of(tmp_path, asked, started(), crashed("a"), crashed("b"))
    place = tmp_path / "crashes"
    (place / "notes.txt").write_text("a person's own", encoding="utf-8")
    (place / "001-folder.txt").mkdir()
    report_of(tmp_path, asked, started(key="new"), crashed("b", key="new"))
    assert {one.name for one in place.iterdir()} == {"001-m-b.txt", "notes.txt", "001-folder.txt"}
    report_of(tmp_path, asked, started(), attempt("a"), attempt("b"))
    assert {one.name for one in place.iterdir()} == {"notes.txt", "001-folder.txt"}
