"""What a row says of a death, of its retries and of repeats that are missing."""

from __future__ import annotations

import pytest
from journals import attempt, failed, gave_up, plan, planned, report_of, rows, started

from orchestrator.reports.blame import AFTER_OTHERS, KILLS, NOT_AGAIN, OTHERWISE, SOMETIMES
from schemas.records import Crash, WorkerEnded

CRASH = Crash(
    exit="killed by SIGSEGV", stack=None, log_tail="", last_frames="", memory_curve=(),
    kernel_lines=(), lock_sha256="l", replay="asrbench replay",
)  # fmt: skip


def died(snippet, **other):
    return failed(snippet, crash=CRASH, **other)


def ended(**other):
    known = {"outcome": "crashed", "phase": "shutdown", "after": "a", "error": "signal 11"} | other
    return WorkerEnded(at="2026-01-31T12:00:00+00:00", model="m", crash=CRASH, **known)


@pytest.mark.parametrize(
    ("tries", "blame"),
    [
        ([died("a")], None),
        ([died("a"), died("a", retry=1)], KILLS),
        ([died("a"), attempt("a", retry=1)], NOT_AGAIN),
        ([died("a", measured_before=1), attempt("a", retry=1)], AFTER_OTHERS),
        ([died("a", nth=2), attempt("a", retry=1)], NOT_AGAIN),  # the warm-up is no other
        ([died("a"), failed("a", retry=1, outcome="out_of_memory")], OTHERWISE),
        ([died("a"), died("a", retry=1), attempt("a", retry=2)], SOMETIMES),
        ([died("a"), died("a", retry=1), failed("a", retry=2)], SOMETIMES),
        ([died("a", measured_before=1), died("a", retry=1), attempt("a", retry=2)], SOMETIMES),
    ],
)
def test_a_snippet_is_blamed_by_how_its_tries_ended(tries, blame):
    (row,) = rows(plan(planned("a")), started(), *tries)
    assert row.blame == blame


def test_of_several_repeats_the_worst_is_told():
    twice = plan(planned("a")).model_copy(update={"repeats": 2})
    (row,) = rows(
        twice, started(), died("a"), died("a", repeat=2),
        attempt("a", retry=1), died("a", repeat=2, retry=1),
    )  # fmt: skip
    assert (row.outcome, row.blame) == ("crashed", KILLS)


def test_a_run_whose_repeats_are_missing_is_not_whole(tmp_path):
    twice = plan(planned("a"), planned("b")).model_copy(update={"repeats": 2})
    lines = [twice, started(), attempt("a", time_s=1.0, audio_s=2.0)]
    lines += [attempt("b", time_s=1.0, audio_s=2.0), attempt("a", repeat=2, time_s=3.0)]
    half = report_of(tmp_path / "half", *lines)
    assert half.exit_code == 1
    assert "|repeats:1of2|" in half.signature
    assert "1 of 2 repeats are missing: the run ended" in "; ".join(half.rows[1].notes)
    assert half.summaries[0].rtfx == 2.0  # by the repeat that both snippets have
    whole = report_of(tmp_path / "whole", *lines, attempt("b", repeat=2, time_s=1.0))
    assert whole.exit_code == 0
    assert "|repeats:2|" in whole.signature


def test_a_row_says_why_its_repeats_are_missing():
    twice = plan(planned("a")).model_copy(update={"repeats": 2})
    (row,) = rows(twice, started(), attempt("a"), gave_up(error="given up after 3 crashes"))
    assert "1 of 2 repeats are missing: given up after 3 crashes" in row.notes


def test_a_retry_counts_for_no_time_where_there_are_others(tmp_path):
    twice = plan(planned("a"), planned("b")).model_copy(update={"repeats": 2})
    report = report_of(
        tmp_path, twice, started(), died("a"), attempt("b", time_s=1.0, audio_s=3.0),
        attempt("a", repeat=2, time_s=2.0, audio_s=3.0),
        attempt("b", repeat=2, time_s=1.0, audio_s=3.0),
        attempt("a", retry=1, time_s=50.0, audio_s=3.0),
    )  # fmt: skip
    assert report.rows[0].time_s == 2.0
    assert report.summaries[0].rtfx == 3.0  # by the row that was never retried


def test_every_death_of_a_model_is_counted(tmp_path):
    asked = plan(planned("a"), planned("b"))
    lines = [asked, started(), ended(phase="load", after=None), attempt("a"), died("b")]
    lines += [attempt("b", retry=1), ended(), gave_up(crash=CRASH)]
    report = report_of(tmp_path, *lines)
    assert report.summaries[0].crashes == 4
    assert len(list((tmp_path / "crashes").iterdir())) == 4


def test_the_end_of_a_worker_that_was_replaced_is_no_news_of_the_new_one():
    (row,) = rows(plan(planned("a")), started(), attempt("a"), ended(), started(key="new"),
                  attempt("a", key="new"))  # fmt: skip
    assert row.notes == ()
