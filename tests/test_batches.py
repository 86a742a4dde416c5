"""Several snippets at once: whose time is what, what becomes of a batch that fails."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from conftest import STACKS, stack_toml
from journals import AT, attempt, plan, planned, report_of, started

from orchestrator.errors import AudioError
from orchestrator.run import live_worker, recordings
from orchestrator.run.attempts import of_batch
from orchestrator.run.batches import AUTO_ON_CPU, AUTO_ON_OTHERS, Batches
from orchestrator.run.options import ASSUMED_AUDIO_S, RunOptions
from orchestrator.supervisor.transcription import Transcribed
from orchestrator.views.plain import PlainView
from schemas.records import Batch, BatchCheck, Energy

MODELS = {
    "plain": "",
    "single": "",
    "tight": "options = { most = 2 }",
    "greedy": "options = { most = 0 }",
    "killed": "options = { most = 2, how = 'die' }",
    "changes": "options = { mumbles = true }",
    "short": "options = { answers = 1 }",
    "wrong": "options = { answers = 99 }",
    "bounded": "options = { more_bytes = 30_000_000 }",
}
# what a recording asks for is its first sample
WORKER = """
import os, time
DIES, RAISES, RAISES_ALONE, DIES_ALONE, HANGS = 2, 3, 4, 5, 6
def load(checkpoint, device, most=99, how="raise", mumbles=False, answers=None, more_bytes=0):
    if more_bytes:
        import resource
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * resource.getpagesize() + more_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return most, how, mumbles, answers
def transcribe(model, audio, word="said"):
    asked = round(float(audio[0]) * 100)
    if asked == DIES_ALONE:
        os.abort()
    if asked == RAISES_ALONE:
        raise ValueError("it cannot hear that alone")
    return said(audio, word) | {"alone": True}
def said(audio, word):
    asked = round(float(audio[0]) * 100)
    if asked == DIES:
        os.abort()
    if asked == RAISES:
        raise ValueError("it cannot hear that")
    if asked == HANGS:
        time.sleep(600)
    return {"text": f"{word} {len(audio)}"}
"""
BATCHES = """
def transcribe_batch(model, audios, word="said"):
    most, how, mumbles, answers = model
    if len(audios) > most:
        if how == "die":
            raise MemoryError(f"out of memory with {len(audios)} at once")
        raise RuntimeError(f"CUDA out of memory with {len(audios)} at once")
    time.sleep(0.05 * len(audios))
    results = [said(audio, word) | {"alone": False} for audio in audios]
    if mumbles:
        results[0]["text"] += " mumbled"
    return results[:answers] if answers != 99 else {"text": "one for all"}
"""


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    """Two stacks: one takes batches, the other does not."""
    root = tmp_path_factory.mktemp("stacks")
    for name, models, worker in (
        ("batcher", [one for one in MODELS if one != "single"], WORKER + BATCHES),
        ("loner", ["single"], WORKER),
    ):
        folder = root / name
        folder.mkdir()
        toml = stack_toml(name, models)
        for model in models:
            table = f"[tool.asrbench.models.{model}]"
            toml = toml.replace(table, f"{table}\n{MODELS[model]}")
        (folder / "pyproject.toml").write_text(toml, encoding="utf-8")
        (folder / "worker.py").write_text(worker, encoding="utf-8")
        shutil.copy(STACKS / "puppet" / "requirements.lock", folder / "requirements.lock")
    return root


@pytest.fixture
def run(in_process, stacks, tmp_path):
    """run(model, lengths in samples or (length, what it asks for), …) → command, rows, journal."""

    def go(model, lengths, *words, code=0):
        folder = tmp_path / "clips"
        folder.mkdir(exist_ok=True)
        for number, length in enumerate(lengths):
            count, asked = length if isinstance(length, tuple) else (length, 1)
            samples = np.full(count, 0.25, np.float32)
            samples[0] = asked / 100
            soundfile.write(folder / f"{number}.wav", samples, 16_000, subtype="FLOAT")
            (folder / f"{number}.txt").write_text(f"said {count}", encoding="utf-8")
        done = in_process(
            "orchestrate", "--models", model, "--stacks", stacks, "--snippets", folder,
            "--results", tmp_path / "results", "--timeout", "2", "--json", *words,
        )  # fmt: skip
        assert "Traceback" not in done.err, done.err
        assert done.code == code, done.out + done.err
        journal = tmp_path / "results" / "latest" / "journal.jsonl"
        lines = [json.loads(line) for line in journal.read_text("utf-8").splitlines()]
        return done, {row["snippet"]: row for row in done.json()["rows"]}, lines

    return go


def attempts(lines):
    return [one for one in lines if one["kind"] == "attempt" and not one["warm_up"]]


def checks(lines):
    return [one for one in lines if one["kind"] == "batch_check"]


def sizes(lines):
    """Of each attempt, by snippet, how many were in its batch."""
    return {one["snippet"]: (one["batch"] or {"size": 1})["size"] for one in attempts(lines)}


def test_the_longest_go_first_together_and_each_gets_its_own_text(run):
    lengths = [1600, 4800, 3200, 6400, 8000]
    done, rows, lines = run("plain", lengths, "--batch", "2")
    assert {name: row["transcript"] for name, row in rows.items()} == {
        str(number): f"said {length}" for number, length in enumerate(lengths)
    }
    assert [one["snippet"] for one in attempts(lines)] == ["4", "3", "1", "2", "0"]
    assert sizes(lines) == {"4": 2, "3": 2, "1": 2, "2": 2, "0": 1}
    assert {one["details"]["alone"] for one in attempts(lines)[:-1]} == {False}
    assert {row["wer"] for row in rows.values()} == {0.0}
    assert "batch:1+2|" in done.json()["signature"]  # one was left over
    (summary,) = done.json()["summary"]
    assert (summary["batch"], summary["batch_rows"]) == (2, 4)
    # both of the first batch, and the shorter one of the second
    assert (summary["batch_checked"], summary["batch_changed"]) == (3, 0)
    assert [set(one["checked"]) for one in checks(lines)] == [{"3", "4"}, {"2"}]


def test_times_of_a_batch_are_shared_by_length_and_add_up_to_it(run):
    _, _, lines = run("plain", [1600, 4800], "--batch", "4")
    longer, shorter = attempts(lines)
    batch = longer["batch"]
    assert batch == shorter["batch"]
    assert batch["audio_s"] == pytest.approx(0.4)
    assert longer["time_s"] + shorter["time_s"] == pytest.approx(batch["time_s"])
    assert longer["infer_s"] + shorter["infer_s"] == pytest.approx(batch["infer_s"])
    assert longer["time_s"] == pytest.approx(3 * shorter["time_s"])
    assert batch["time_s"] >= batch["infer_s"] >= 0.1


def test_a_worker_that_takes_no_batches_goes_one_by_one_and_that_is_said(run):
    done, _, lines = run("single", [1600, 1600], "--batch", "auto")
    assert set(sizes(lines).values()) == {1}
    assert "single: takes one snippet at a time, no batches" in done.err
    assert "batch:1|" in done.json()["signature"]


def test_without_the_option_there_are_no_batches(run):
    _, _, lines = run("plain", [1600, 1600])
    assert {one["batch"] for one in attempts(lines)} == {None}
    assert not checks(lines)


@pytest.mark.parametrize("model", ["tight", "killed"])
def test_out_of_memory_halves_the_batch_for_all_that_follow(run, model):
    done, rows, lines = run(model, [1600] * 9, "--batch", "8")
    assert sorted(sizes(lines).values()) == [1] + [2] * 8
    assert {row["error"] for row in rows.values()} == {None}
    assert "8 at once: out_of_memory" in done.err
    assert "goes on with 4 at once" in done.err
    assert "goes on with 2 at once" in done.err
    remarks = " ".join(rows["0"]["notes"])
    assert "8 at once: out_of_memory" in remarks
    assert "4 at once: out_of_memory" in remarks
    assert not rows["8"]["notes"]
    assert "batch:1+2|" in done.json()["signature"]


def test_a_model_without_memory_for_two_goes_one_by_one(run):
    done, rows, lines = run("greedy", [1600] * 3, "--batch", "3")
    assert set(sizes(lines).values()) == {1}
    assert "3 at once: out_of_memory" in done.err
    assert "goes on one by one" in done.err
    assert {row["error"] for row in rows.values()} == {None}


@pytest.mark.parametrize(
    ("asks", "outcome", "words"),
    [
        (2, "crashed", "SIGABRT"),
        (3, "failed", "it cannot hear that"),
        (6, "timed_out", "no answer in time"),
    ],
)
def test_one_that_spoils_its_batch_is_found_and_costs_its_own_row_alone(
    run, tmp_path, asks, outcome, words
):
    lengths = [1600, (1600, asks), 1600, 1500, 1500]
    words_given = ("--batch", "3", "--retries", "0", "--timeout", "0.5")
    _, rows, lines = run("plain", lengths, *words_given, code=1)
    assert {name for name, row in rows.items() if row["error"]} == {"1"}
    assert rows["1"]["outcome"] == outcome
    assert words in rows["1"]["error"]
    assert sizes(lines) == {"0": 1, "1": 1, "2": 1, "3": 2, "4": 2}
    assert f"3 at once: {outcome}" in " ".join(rows["0"]["notes"])
    ended = [one for one in lines if one["kind"] == "worker_ended"]
    assert [(one["phase"], one["after"]) for one in ended] == (
        [] if outcome == "failed" else [("transcribe", None)]
    )
    if ended:  # no command does that again, as none asks for several
        folder = tmp_path / "results" / "latest" / "crashes"
        (text,) = (file.read_text("utf-8") for file in folder.glob("*-plain-transcribe.txt"))
        cause = "worker killed by SIGABRT" if outcome == "crashed" else "worker gave no answer in"
        assert f"tried    3 at once (0, 1, 2): {cause}" in text
        assert "again" not in text


def test_after_too_many_faults_everything_goes_alone(run):
    lengths = [length for one in range(3) for length in ((1600 - one, 3), 1600 - one)] + [800, 800]
    done, _, lines = run("plain", lengths, "--batch", "2", "--max-crashes", "2", code=1)
    assert done.err.count("2 at once: failed") == 2
    assert set(sizes(lines).values()) == {1}


def test_an_answer_of_a_batch_ends_a_row_of_crashes(run):
    lengths = [(1606, 2), (1605, 2), 1604, 1603, (1602, 2), (1601, 2), 1600]
    words = ("--batch", "2", "--max-crashes", "3", "--retries", "0", "--no-warm-up")
    _, rows, _ = run("plain", lengths, *words, code=1)
    outcomes = [rows[str(number)]["outcome"] for number in range(7)]
    assert outcomes == ["crashed", "crashed", "ok", "ok", "crashed", "crashed", "ok"]


@pytest.fixture
def breaks(monkeypatch):
    """breaks("1.wav", …): these cannot be decoded any more."""
    real = recordings.decode

    def broken(*names):
        def decode(audio, facts, *where):
            if audio.name in names:
                raise AudioError(f"{audio} is broken")
            return real(audio, facts, *where)

        monkeypatch.setattr(recordings, "decode", decode)

    return broken


def test_a_broken_recording_in_a_batch_costs_its_own_row(run, breaks):
    breaks("1.wav")
    _, rows, lines = run("plain", [1600, 1600, 1600], "--batch", "3", code=1)
    assert (rows["1"]["outcome"], rows["1"]["phase"]) == ("failed", "decode")
    assert {one["batch"]["size"] for one in attempts(lines) if one["batch"]} == {2}
    assert rows["0"]["transcript"] == rows["2"]["transcript"] == "said 1600"


@pytest.mark.skipif(sys.platform != "linux", reason="its own limit of memory is Linux's")
@pytest.mark.parametrize("length", ["known", "unknown"])
def test_samples_of_a_batch_that_do_not_fit_are_out_of_memory_and_halve_it(
    run, monkeypatch, length
):
    """While they are handed over, before the model has any of them."""
    if length == "unknown":  # as of some compressed files: the buffer grows as they come
        real = live_worker.recording
        monkeypatch.setattr(
            live_worker, "recording", lambda *given: replace(real(*given), samples_hint=0)
        )
    done, rows, lines = run("bounded", [1_600_000] * 8, "--batch", "8", "--timeout", "60")
    assert "8 at once: out_of_memory: MemoryError: no memory for all samples" in done.err
    assert {row["outcome"] for row in rows.values()} == {"ok"}
    assert set(sizes(lines).values()) <= {4, 2}
    assert not [one for one in lines if one["kind"] == "worker_ended"]


def test_the_view_says_what_goes_on_around_the_first_comparison(run, monkeypatch):
    stages = []
    monkeypatch.setattr(PlainView, "stage", lambda self, model, stage: stages.append(stage))
    run("plain", [1600] * 4, "--batch", "2")
    assert stages[-3:] == ["transcribing", "comparing with one by one", "transcribing"]


def test_what_batching_changes_is_told(run):
    done, rows, lines = run("changes", [1600, 3200, 800, 800], "--batch", "2")
    first, second = checks(lines)
    assert (set(first["checked"]), first["changed"]) == ({"0", "1"}, {"1": "said 3200"})
    assert (set(second["checked"]), second["changed"]) == ({"3"}, {})
    assert rows["1"]["transcript"] == "said 3200 mumbled"
    assert "transcribed alone its text is: said 3200" in rows["1"]["notes"]
    (summary,) = done.json()["summary"]
    assert (summary["batch_checked"], summary["batch_changed"]) == (3, 1)


@pytest.mark.parametrize(("asks", "outcome"), [(4, "failed"), (5, "crashed")])
def test_a_comparison_that_fails_costs_no_row_and_what_was_compared_is_kept(run, asks, outcome):
    done, rows, lines = run("plain", [4800, (3200, asks), 1600, 800], "--batch", "4")
    assert {row["outcome"] for row in rows.values()} == {"ok"}
    assert f"plain: alone, to compare with its batch: {outcome}" in done.err
    assert [set(one["checked"]) for one in checks(lines)] == [{"0"}]
    ended = [one["error"] for one in lines if one["kind"] == "worker_ended"]
    assert len(ended) == (outcome == "crashed")
    assert all(error.startswith("one by one, to compare with a batch") for error in ended)


def test_a_batch_of_broken_recordings_is_not_the_one_that_is_compared(run, breaks):
    breaks("0.wav", "1.wav")
    _, _, lines = run("plain", [3200, 3200, 1600, 1600], "--batch", "2", code=1)
    assert [set(one["checked"]) for one in checks(lines)] == [{"2", "3"}]


def test_comparisons_that_kill_the_worker_come_to_an_end(run):
    lengths = [length for one in range(4) for length in ((1600 - one, 5), (1600 - one, 5))]
    done, rows, lines = run("plain", lengths, "--batch", "2", "--max-crashes", "2", "--no-warm-up")
    assert {row["outcome"] for row in rows.values()} == {"ok"}
    assert len([one for one in lines if one["kind"] == "worker_ended"]) == 2
    said = [text for text in done.err.splitlines() if "alone, to compare" in text]
    assert [text.endswith("nothing is compared any more") for text in said] == [False, True]


def test_a_recording_that_vanishes_before_its_comparison_costs_nothing(run, monkeypatch):
    real, heard = recordings.decode, []

    def decode(audio, facts, *where):
        heard.append(audio.name)
        if heard.count("0.wav") == 2:
            raise AudioError(f"{audio} is gone")
        return real(audio, facts, *where)

    monkeypatch.setattr(recordings, "decode", decode)
    _, rows, lines = run("plain", [3200, 1600], "--batch", "2", "--no-warm-up")
    assert {row["outcome"] for row in rows.values()} == {"ok"}
    assert not checks(lines)


def test_what_was_compared_counts_for_the_recording_and_the_key_that_it_was_made_with(tmp_path):
    batch = Batch(size=3, audio_s=3.0, time_s=1.0, infer_s=1.0)
    found = report_of(
        tmp_path,
        plan(planned("a"), planned("b"), planned("c")),
        started(),
        *(attempt(name, batch=batch, audio_s=1.0, time_s=1.0) for name in "abc"),
        BatchCheck(
            at=AT, model="m", key="k", repeat=1, checked={"a": "sha of a", "b": "another"},
            changed={"a": "red", "b": "blue"},
        ),
        BatchCheck(
            at=AT, model="m", key="other", repeat=1, checked={"c": "sha of c"}, changed={"c": "no"}
        ),
        # another repeat, whose batch had no influence
        BatchCheck(at=AT, model="m", key="k", repeat=2, checked={"a": "sha of a"}, changed={}),
    )  # fmt: skip
    assert [row.notes for row in found.rows] == [("transcribed alone its text is: red",), (), ()]
    (summary,) = found.summaries
    assert (summary.batch_checked, summary.batch_changed, summary.batch_rows) == (1, 1, 3)


def test_a_batch_is_one_try_of_its_worker(run):
    _, _, lines = run("plain", [1600] * 5, "--batch", "2", "--no-warm-up")
    told = [(one["nth"], one["measured_before"]) for one in attempts(lines)]
    assert told == [(1, 0), (1, 0), (2, 2), (2, 2), (3, 4)]


def test_energy_of_a_batch_is_shared_as_its_time_is():
    batch = Batch(size=2, audio_s=4.0, time_s=2.0, infer_s=1.0)
    energy = (Energy(source="package-0", scope="package", joules=8.0, method="rapl"),)
    result = Transcribed("text", 2.0, 1.0, {})
    made = of_batch(attempt("a"), result, batch, 16_000, {"energy": energy, "notes": ()}, ())
    assert (made.time_s, made.infer_s, made.energy[0].joules) == (0.5, 0.25, 2.0)


def test_a_batch_has_the_time_that_its_audio_has():
    options = RunOptions(snippets="clips", timeout_s=5)
    assert options.attempt_timeout_s(1.0, 2.0) == 35.0
    assert options.attempt_timeout_s(1.0, None) == 15.0 + 10 * ASSUMED_AUDIO_S


@pytest.mark.parametrize(
    ("model", "words"),
    [("short", "returned 1 where 2 results belong"), ("wrong", "returned dict where 2")],
)
def test_another_number_of_answers_is_an_error_of_the_batch(run, model, words):
    done, rows, _ = run(model, [1600, 1600], "--batch", "2")
    assert words in done.err
    assert {row["transcript"] for row in rows.values()} == {"said 1600"}  # one by one


def test_repeats_of_one_snippet_are_never_in_one_batch(run):
    _, _, lines = run("plain", [1600, 1600, 1600], "--batch", "2", "--repeat", "2")
    assert [(one["repeat"], (one["batch"] or {"size": 1})["size"]) for one in attempts(lines)] == [
        (1, 2), (1, 2), (1, 1), (2, 2), (2, 2), (2, 1),
    ]  # fmt: skip


def test_what_is_resumed_with_another_batch_is_measured_again(run, in_process, tmp_path, stacks):
    run("plain", [1600, 1600])
    done = in_process(
        "orchestrate", "--resume", "latest", "--results", tmp_path / "results", "--batch", "2",
        "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert [row["batch"] for row in done.json()["rows"]] == [2, 2]


@pytest.mark.parametrize("given", ["0", "-1", "257", "many", "1.5"])
def test_a_wrong_size_is_refused(in_process, given):
    done = in_process("orchestrate", "--batch", given)
    assert done.code == 2
    assert "--batch" in done.err


def test_auto_begins_with_less_on_a_cpu():
    assert Batches("auto", "cpu", 3).size == AUTO_ON_CPU < AUTO_ON_OTHERS
    assert Batches("auto", "rocm", 3).size == AUTO_ON_OTHERS


def test_the_options_in_use_are_recorded_with_their_defaults(run):
    _, _, lines = run("tight", [1600])
    (attempt,) = attempts(lines)
    assert attempt["load_details"] == {
        "option_most": 2,
        "option_how": "raise",
        "option_mumbles": False,
        "option_answers": None,
        "option_more_bytes": 0,
        "option_word": "said",
    }
