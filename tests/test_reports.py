"""Reports are a function of the journal: journals written by hand, figures worked out by hand."""

from __future__ import annotations

import json

import pytest
from journals import (
    attempt,
    failed,
    gave_up,
    plan,
    planned,
    report_of,
    rows,
    started,
    summaries,
)

from orchestrator.errors import RunFolderError
from orchestrator.journal import read_journal
from orchestrator.reports.report import make_report
from orchestrator.reports.state import fold
from schemas.records import (
    JOURNAL_LINE,
    LoadTimes,
    MemoryPeak,
)


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
        attempt("b", "dog", audio_s=2.0, time_s=3.0, load=slow, memory=peak[1], device="cpu"),
        failed("c", audio_s=100.0, time_s=50.0, memory=peak[2]),
        attempt("d", "dog cat", audio_s=3.0, time_s=1.0, device="cpu"),
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


def test_a_torn_last_line_is_left_out_and_said(tmp_path):
    lines = [plan(planned("a")), started(), attempt("a")]
    assert not report_of(tmp_path, *lines).torn
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(JOURNAL_LINE.dump_json(failed("a"))[:40])
    report = make_report(tmp_path)
    assert (report.torn, report.exit_code) == (True, 0)


@pytest.mark.parametrize(("details", "said"), [({"cut_off": 2}, True), ({"cut_off": 0}, False)])
def test_a_row_whose_text_was_cut_off_says_so(details, said):
    (row,) = rows(plan(planned("a")), started(), attempt("a", details=details))
    cut = "2 of its pieces reached the limit of an answer's length: text may be missing"
    assert row.notes == ((cut,) if said else ())
