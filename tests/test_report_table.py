"""The table that a person sees at the end."""

from __future__ import annotations

import io

import pytest
from journals import (
    attempt,
    failed,
    gave_up,
    plan,
    planned,
    report_of,
    started,
)
from rich.console import Console

from orchestrator.reports.table import print_report
from orchestrator.views.text import printable
from schemas.records import (
    MemoryPeak,
)


def printed(report):
    stream = io.StringIO()
    console = Console(file=stream, width=300, force_terminal=True, color_system=None)
    print_report(console, report.summaries, report.rows, report.signature)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("bound", "sign"), [("exact", ""), ("lower", "≥"), ("upper", "≤"), ("unknown", "~")]
)
def test_a_peak_that_may_be_wrong_has_a_sign_that_is_explained(tmp_path, bound, sign):
    memory = MemoryPeak(peak_bytes=123_456_789, method="cgroup-v2", bound=bound)
    report = report_of(tmp_path, plan(planned("a")), started(), attempt("a", memory=memory))
    assert f" {sign}123 " in printed(report)
    assert ("~: either" in printed(report)) == bool(sign)


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
