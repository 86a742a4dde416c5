"""What a run's CSV files and crashes/ hold, whatever its names and texts are."""

from __future__ import annotations

import re

import pytest
from test_reports import (
    attempt,
    failed,
    gave_up,
    plan,
    planned,
    read_csv,
    report_of,
    started,
)

from orchestrator.errors import RunFolderError
from schemas.records import Crash


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
