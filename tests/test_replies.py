"""What a worker answers is taken only if every field of it fits, and is refused in few words."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from orchestrator.supervisor.replies import validated
from schemas import messages

TRANSCRIPT = asdict(messages.Transcript("a", "hello", 8_000, 0.5, {"beams": 5}))
TOO_LONG = "x" * (messages.MAX_TEXT_CHARS + 1)


def test_the_reply_that_the_broken_ones_are_made_of_is_sound():
    assert validated(TRANSCRIPT).text == "hello"


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "transcripts"},
        {"kind": "load"},  # a request
        {"kind": None},
        {"kind": ["transcript"]},
        {"extra": 1},
        {b"extra": 1},
        {"text": TOO_LONG},
        {"text": None},
        {"text": 5},
        {"text": ["hello"]},
        {"text": b"\xff"},
        {"samples": 0.5},
        {"samples": "many"},
        {"samples": "16000"},
        {"samples": True},
        {"text": b"hello"},
        {"samples": None},
        {"samples": 8_000.0},
        {"samples": -1},
        {"infer_s": -0.5},
        {"infer_s": 1},
        {"infer_s": float("nan")},
        {"infer_s": float("inf")},
        {"infer_s": "soon"},
        {"details": None},
        {"details": []},
        {"details": {"confidence": float("nan")}},
        {"details": {"nested": {"a": 1}}},
        {"details": {"list": [1]}},
        {"details": {"log": TOO_LONG}},
        {"details": {TOO_LONG: 1}},
        {"details": {1: 1}},
        {"details": dict.fromkeys(map(str, range(messages.MAX_ENTRIES + 1)))},
    ],
    ids=lambda change: str(change)[:40],
)
def test_a_reply_that_does_not_fit_is_refused(change):
    with pytest.raises(ValueError):
        validated(TRANSCRIPT | change)


def test_as_many_entries_as_allowed_are_taken():
    names = [str(number) for number in range(messages.MAX_ENTRIES)]
    assert validated(TRANSCRIPT | {"details": dict.fromkeys(names)}).details == dict.fromkeys(names)
    hello = asdict(messages.Hello(1, 42, "3.9.1", "/env", [], "none"))
    assert validated(hello | {"path": names}).path == names
    with pytest.raises(ValueError, match=r"^hello\.path: has 1001 entries"):
        validated(hello | {"path": [*names, "one more"]})


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "x" * 9_999},
        {"kind": ["x" * 9_999]},
        {"x" * 9_999: 1},
        {"details": {"x" * 9_999: []}},
        {"\x1b[31m\n": 1},
    ],
    ids=lambda change: str(change)[:40],
)
def test_what_is_said_of_a_reply_that_does_not_fit_is_one_short_line(change):
    with pytest.raises(ValueError) as caught:
        validated(TRANSCRIPT | change)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("field", ["kind", "snippet", "text", "samples", "infer_s"])
def test_a_reply_that_lacks_a_field_is_refused(field):
    with pytest.raises(ValueError):
        validated({key: TRANSCRIPT[key] for key in TRANSCRIPT if key != field})
