"""Reports are a function of the journal: journals written by hand, figures worked out by hand."""

from __future__ import annotations

import csv
import io
import json

import pytest
from rich.console import Console

from orchestrator.errors import RunFolderError
from orchestrator.journal import read_journal
from orchestrator.reports.csv_files import safe_cell
from orchestrator.reports.report import make_report, write_files
from orchestrator.reports.rows import rows_of
from orchestrator.reports.state import fold
from orchestrator.reports.summary import summarise
from orchestrator.reports.table import print_report
from orchestrator.views.text import printable
from schemas.records import (
    JOURNAL_LINE,
    Attempt,
    LoadTimes,
    MemoryPeak,
    ModelFailed,
    ModelStarted,
    Plan,
    PlannedModel,
    PlannedSnippet,
)

AT = "2026-01-31T12:00:00+00:00"
TEN_COLUMNS = (
    "Model,Snippet,Transcript,Reference,WER,Time_Sec,RTF,Peak_RAM_MB,Load_Time_Sec,Error".split(",")
)


def planned(name, reference="red green blue pink", **other):
    standard = {"clean_reference": None, "language": "en", "duration_s": 4.0, "error": None}
    known = standard | {"sha256": f"sha of {name}"} | other
    return PlannedSnippet(name=name, reference=reference, **known)


def plan(*snippets, models=("m",)):
    asked = tuple(PlannedModel(name=name, stack="s", languages=()) for name in models)
    return Plan(at=AT, models=asked, snippets=snippets, snippet_set_sha256="5e7" * 10)


def started(model="m", key="k"):
    return ModelStarted(
        at=AT, model=model, key=key, accelerator="cpu", env="e", lock_sha256="l"
    )  # fmt: skip


def attempt(snippet, text="red green blue pink", model="m", **other):
    known = {"key": "k", "outcome": "ok", "snippet_sha256": f"sha of {snippet}"} | other
    return Attempt(at=AT, model=model, snippet=snippet, text=text, **known)


def failed(snippet, **other):
    known = {"text": None, "outcome": "crashed", "error": "signal 11"} | other
    return attempt(snippet, **known)


def gave_up(model="m", **other):
    known = {"outcome": "failed", "phase": "load", "error": "no weights"} | other
    return ModelFailed(at=AT, model=model, **known)


def rows(*lines):
    return rows_of(fold(lines))


def summaries(*lines):
    state = fold(lines)
    return summarise(rows_of(state), state)


def report_of(folder, *lines):
    folder.mkdir(exist_ok=True)
    (folder / "journal.jsonl").write_bytes(
        b"".join(JOURNAL_LINE.dump_json(x) + b"\n" for x in lines)
    )
    report = make_report(folder)
    write_files(report)
    return report


def read_csv(file):
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def printed(report):
    stream = io.StringIO()
    console = Console(file=stream, width=300, force_terminal=True, color_system=None)
    print_report(console, report.summaries, report.rows, report.signature)
    return stream.getvalue()


def test_every_model_and_snippet_has_exactly_one_row_in_the_order_of_the_plan():
    asked = plan(planned("a"), planned("b", error="damaged"), planned("c"), models=("x", "y", "z"))
    found = rows(
        asked, started("x"), attempt("a", model="x"), failed("c", model="x"),
        started("y"), attempt("c", model="y"), gave_up("y"),
    )  # fmt: skip
    assert [(row.model, row.snippet.name) for row in found] == [
        (model, snippet) for model in "xyz" for snippet in "abc"
    ]
    outcomes = [row.outcome for row in found]
    assert outcomes == [
        "ok", "failed", "crashed", "failed", "failed", "ok", "", "failed", "",
    ]  # fmt: skip


def test_a_later_attempt_replaces_an_earlier_one():
    lines = [plan(planned("a")), started(), failed("a"), started(), attempt("a", "red")]
    (row,) = rows(*lines)
    assert (row.outcome, row.error, row.score.deletions) == ("ok", None, 3)
    (row,) = rows(*lines, failed("a"))
    assert (row.outcome, row.error, row.score.deletions) == ("crashed", "signal 11", 4)


@pytest.mark.parametrize(
    "lines",
    [
        [plan(planned("a")), started(), attempt("a"), started(key="new")],
        [plan(planned("a")), started(key="new"), attempt("a")],
        [plan(planned("a")), attempt("a")],
        [plan(planned("a")), started(), attempt("a", snippet_sha256="other")],
        [plan(planned("a")), started(), attempt("a"), plan(planned("a", sha256="new"))],
        [plan(planned("b")), started(), attempt("b"), plan(planned("a"))],
    ],
)
def test_an_attempt_with_an_outdated_key_or_recording_does_not_count(lines):
    (row,) = rows(*lines)
    assert (row.snippet.name, row.attempt, row.outcome, row.score) == ("a", None, "", None)
    assert "--resume" in row.error


def test_the_last_plan_holds_and_its_text_is_what_is_scored():
    (row,) = rows(plan(planned("a")), started(), attempt("a", "x"), plan(planned("a", "x")))
    assert (row.ok, row.score.wer) == (True, 0.0)


def test_a_row_has_its_attempt_as_it_was_journaled():
    given = attempt(
        "a", "naïve 你好 🎧", time_s=0.1 + 0.2, audio_s=4.0, details={"beams": 5, "x": None},
        memory=MemoryPeak(peak_bytes=1 << 40, method="pss"), notes=("one", "two"),
    )  # fmt: skip
    (row,) = rows(plan(planned("a")), started(), given)
    assert row.attempt == given


def test_a_journal_is_read_one_line_at_a_time(tmp_path):
    journal = tmp_path / "journal.jsonl"
    lines = [JOURNAL_LINE.dump_json(line) for line in (started(), attempt("a"))]
    journal.write_bytes(b"\n".join([*lines, b"damaged", b"torn"]))
    read = read_journal(journal)
    assert [next(read), next(read)] == [started(), attempt("a")]
    with pytest.raises(RunFolderError, match="line 3 is damaged"):
        next(read)


def test_a_journal_without_a_plan_is_an_error():
    with pytest.raises(RunFolderError, match="no plan"):
        fold([started(), attempt("a")])


def test_a_model_that_gives_up_keeps_what_it_answered_and_fails_the_rest():
    first, second = rows(plan(planned("a"), planned("b")), started(), attempt("a"), gave_up())
    assert (first.outcome, first.score.wer) == ("ok", 0.0)
    assert (second.outcome, second.phase, second.attempt) == ("failed", "load", None)
    assert second.error == "not tried: no weights"
    assert (second.score.wer, second.score.deletions) == (1.0, 4)


def test_a_model_that_starts_again_has_not_given_up():
    (row,) = rows(plan(planned("a")), started(), gave_up(), started())
    assert row.outcome == ""


def test_a_broken_recording_costs_its_row_and_no_words():
    lines = [
        plan(planned("a", error="a.wav is damaged"), planned("b"), planned("c")), started(),
        failed("b", phase="decode", outcome="failed"), attempt("c"),
    ]  # fmt: skip
    broken, undecoded, good = rows(*lines)
    assert (broken.outcome, broken.phase, broken.error) == ("failed", "decode", "a.wav is damaged")
    assert (broken.score, undecoded.score, good.score.wer) == (None, None, 0.0)
    (summary,) = summaries(*lines)
    assert (summary.wer, summary.ok, summary.failed, summary.not_run) == (0.0, 1, 2, 0)


def test_the_clean_reference_is_scored_beside_the_other():
    snippet = planned("a", "red red green", clean_reference="red green")
    (row,) = rows(plan(snippet), started(), attempt("a", "red green"))
    assert (row.score.deletions, row.clean_score.errors) == (1, 0)


def test_models_are_sorted_by_wer_with_those_without_one_last():
    asked = plan(planned("a"), models=("never", "worse", "best", "absent", "also-best"))
    texts = {"worse": "red", "best": "red green blue pink", "also-best": "red green blue pink"}
    lines = [line for m, text in texts.items() for line in (started(m), attempt("a", text, m))]
    found = summaries(asked, started("never"), failed("a", model="never"), *lines)
    assert [one.model for one in found] == ["also-best", "best", "worse", "absent", "never"]
    assert [one.wer for one in found] == [0.0, 0.0, 0.75, None, None]


@pytest.mark.parametrize(("phase", "wer"), [("env", 0.0), ("download", 0.0), ("load", 0.5)])
def test_only_what_a_model_was_there_for_counts_in_its_wer(phase, wer):
    """A stack that cannot be built says nothing of accuracy; a model that cannot load does."""
    lines = [plan(planned("a"), planned("b")), started(), attempt("a"), gave_up(phase=phase)]
    assert [row.ok for row in rows(*lines)] == [True, False]
    assert summaries(*lines)[0].wer == wer


def test_the_figures_of_a_summary_are_sums_and_not_means():
    load = LoadTimes(total_s=3.0, spawn_s=0.5, interpreter_s=0.5, imports_s=1.0, weights_s=1.0)
    slow = load.model_copy(update={"total_s": 5.0})
    peak = [MemoryPeak(peak_bytes=size, method="pss") for size in (5_000_000, 7_000_000, 9_000_000)]
    (one,) = summaries(
        plan(planned("a"), planned("b", "red"), planned("c"), planned("d", "")), started(),
        attempt("a", audio_s=10.0, time_s=1.0, load=load, memory=peak[0], device="cpu"),
        attempt("b", "dog", audio_s=2.0, time_s=3.0, load=slow, memory=peak[1]),
        failed("c", audio_s=100.0, time_s=50.0, memory=peak[2]),
        attempt("d", "dog cat", audio_s=3.0, time_s=1.0),
    )  # fmt: skip
    assert one.wer == pytest.approx((0 + 1 + 4 + 2) / (4 + 1 + 4))
    characters = {"a": 19, "b": 3, "c": 19}
    assert one.cer == pytest.approx((3 + 19 + len("dog cat")) / sum(characters.values()))
    assert (one.snippets, one.ok, one.failed, one.not_run) == (4, 3, 1, 0)
    assert (one.audio_s, one.rtfx) == (15.0, pytest.approx(15 / 5))
    assert (one.load_s, one.peak_bytes, one.peak_method) == (4.0, 9_000_000, "pss")
    assert (one.device, one.first_error) == ("cpu", "signal 11")
    assert one.wer_interval[0] <= one.wer <= one.wer_interval[1]


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([started(), attempt("a"), attempt("b", "")], 0),
        ([started(), attempt("a"), failed("b")], 1),
        ([started(), attempt("a")], 1),
        ([started(), failed("a"), failed("b")], 3),
        ([gave_up()], 3),
        ([], 3),
    ],
)
def test_the_exit_code_says_whether_all_or_some_or_none_worked(tmp_path, lines, code):
    report = report_of(tmp_path, plan(planned("a"), planned("b")), *lines)
    assert report.exit_code == code
    assert json.loads(json.dumps(report.as_json()))["exit_code"] == code


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
    assert (list(first)[-2:], [first[one] for one in bounds]) == (bounds, ["exact", "lower"])
    assert (second["Transcript"], second["WER"], second["Time_Sec"]) == ("", "", "")
    assert "--resume" in second["Error"]
    (summary,) = read_csv(tmp_path / "summary.csv")
    assert (summary["WER"], summary["Ok"], summary["Not_Run"]) == ("0.5", "1", "1")
    bounds = [f"Peak_RAM_{part}_Bound" for part in ("Load", "First", "Steady")]
    assert (list(summary)[-3:], [summary[one] for one in bounds]) == (
        bounds,
        ["exact", "lower", ""],
    )
    assert "|snippets:1of2:5e75e75e75e7|" in summary["Signature"]


@pytest.mark.parametrize(
    ("bound", "sign"), [("exact", ""), ("lower", "≥"), ("upper", "≤"), ("unknown", "~")]
)
def test_a_peak_that_may_be_wrong_has_a_sign_that_is_explained(tmp_path, bound, sign):
    memory = MemoryPeak(peak_bytes=123_456_789, method="cgroup-v2", bound=bound)
    report = report_of(tmp_path, plan(planned("a")), started(), attempt("a", memory=memory))
    assert f" {sign}123 " in printed(report)
    assert ("~: either" in printed(report)) == bool(sign)


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


def test_a_torn_last_line_is_left_out_and_said(tmp_path):
    lines = [plan(planned("a")), started(), attempt("a")]
    assert not report_of(tmp_path, *lines).torn
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(JOURNAL_LINE.dump_json(failed("a"))[:40])
    report = make_report(tmp_path)
    assert (report.torn, report.exit_code) == (True, 0)


@pytest.mark.parametrize(
    "text",
    ["\x1b[2Jgone", "\x1b]0;title\x07", "bell\x07", "\x9b31mred", "back\x08\x08", "\u202etxt.exe"],
)
def test_control_characters_do_not_reach_the_terminal(tmp_path, text):
    assert printable(text).isprintable()
    asked = plan(planned("a"), planned(f"b{text}"))
    shown = printed(report_of(tmp_path, asked, started(), failed("a", error=text), gave_up()))
    harmful = {char for char in text if not char.isprintable()}
    assert harmful
    assert not harmful & set(shown)


def test_printable_text_is_one_line_of_limited_length():
    assert printable(" two \n lines\t \r\n naïve 你好 ") == "two lines naïve 你好"
    assert printable("x" * 50, limit=10) == "x" * 10 + "…"


@pytest.mark.parametrize("text", ["[red]word[/red]", "[/nope]", "[bold", ":smile: [link=x]y"])
def test_markup_is_printed_as_it_stands(tmp_path, text):
    asked = plan(planned("a", text), planned(f"b {text}"))
    lines = [started(), failed("a", error=f"cannot say {text}"), gave_up(error=text)]
    shown = printed(report_of(tmp_path, asked, *lines))
    assert f"m · a: crashed cannot say {text}" in shown
    assert f"m · b {text}: failed not tried: {text}" in shown


def test_the_table_has_a_line_for_each_model_and_at_most_ten_different_errors(tmp_path):
    names = [f"s{number:02d}" for number in range(14)]
    asked = plan(*map(planned, names), models=("x", "y"))
    lines = [attempt(name, model="y") for name in names[:2]]
    lines += [failed(name, model="y", error=f"no {name}") for name in names[2:]]
    shown = printed(report_of(tmp_path, asked, started("y"), *lines))
    assert "0/14" in shown
    assert "2/14" in shown
    assert shown.count("x · 14 snippets: not run ") == 1  # one error that all of them share
    assert shown.count(": crashed no s") == 9
    assert "… and 3 more; see the Error column" in shown


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
