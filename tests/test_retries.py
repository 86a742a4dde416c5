"""Who is to blame, what a repeat and a warm-up are, what a crash leaves: through the command."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import soundfile

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX way to die")


def tries(lines, name):
    return [x for x in lines if x["kind"] == "attempt" and x["snippet"].endswith(f"-{name}")]


@POSIX
def test_suspects_are_tried_again_alone_and_blamed(run_puppet, clips):
    done, rows, lines = run_puppet(clips("say", "segfault", "say", "not_first", "once", "dict"))
    assert done.code == 1
    assert {name: row["Blame"] for name, row in rows.items() if row["Blame"]} == {
        "segfault": "this snippet kills the model",
        "not_first": "only after others did it fail",
        "once": "did not happen again",  # it was the first of a fresh worker
    }
    assert rows["segfault"]["Outcome"] == "crashed"
    assert rows["not_first"]["Outcome"] == rows["once"]["Outcome"] == "ok"
    assert [one["nth"] for one in tries(lines, "not_first")] == [3, 1]
    assert "without warm-up" in rows["once"]["Notes"]
    assert "4 deaths or hangs of its workers" in done.out  # one snippet died twice


@POSIX
def test_what_failed_in_a_fresh_worker_and_not_again_is_called_so(run_puppet, clips):
    _, rows, _ = run_puppet(clips("once", "dict"), "--no-warm-up")
    assert rows["once"]["Blame"] == "did not happen again"
    assert rows["once"]["Outcome"] == "ok"


@POSIX
def test_those_that_failed_while_it_was_not_warm_yet_are_others_too(run_puppet, clips):
    _, rows, _ = run_puppet(clips("raise", "raise", "not_first"))
    assert rows["not_first"]["Blame"] == "only after others did it fail"


def test_a_worker_that_cannot_be_watched_costs_its_own_model_only(run_puppet, clips):
    """There is no room for a thread below a limit of processes."""
    refused = "import sys; from orchestrator.run import live_worker\n"
    refused += "def refuse(worker): raise RuntimeError('no thread')\n"
    refused += "live_worker.Surroundings = refuse\n"
    refused += "from orchestrator.cli import main; sys.argv[0] = 'asrbench'; main()"
    done, rows, _ = run_puppet(clips("say"), program=("-c", refused))
    assert done.code == 3
    assert "cannot be watched: no thread" in rows["say"]["Error"]
    assert (rows["say"]["Outcome"], rows["say"]["Phase"]) == ("failed", "load")
    assert "deaths" not in done.out


@POSIX
def test_without_retries_nobody_is_blamed(run_puppet, clips):
    _, rows, lines = run_puppet(clips("segfault", "say"), "--retries", "0", "--no-warm-up")
    assert rows["segfault"]["Blame"] == ""
    assert len(tries(lines, "segfault")) == 1


def test_each_snippet_is_measured_so_many_times(run_puppet, clips):
    done, rows, lines = run_puppet(clips("say", "dict"), "--repeat", "3")
    assert done.code == 0
    assert [one["repeat"] for one in tries(lines, "say") if not one["warm_up"]] == [1, 2, 3]
    times = sorted(one["time_s"] for one in tries(lines, "say") if not one["warm_up"])
    assert float(rows["say"]["Time_Sec"]) == pytest.approx(times[1], abs=1e-6)
    assert float(rows["say"]["Time_Sec_Min"]) == pytest.approx(times[0], abs=1e-6)
    assert float(rows["say"]["Time_Sec_Max"]) == pytest.approx(times[2], abs=1e-6)
    assert rows["say"]["Repeats"] == "3"
    assert "repeats:3|warm-up:1" in done.out


def test_repeats_that_are_missing_are_made_on_resume(run_puppet, clips, asrbench, tmp_path):
    run_puppet(clips("say", "dict"), "--repeat", "2")
    journal = tmp_path / "results" / "latest" / "journal.jsonl"
    whole = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(whole[:-1]))
    done = asrbench("orchestrate", "--resume", "latest", "--results", tmp_path / "results")
    assert "puppet: 1 snippet to do" in done.out
    assert done.code == 0


def test_the_first_inference_of_a_worker_is_marked_and_left_out(run_puppet, clips):
    _, rows, lines = run_puppet(clips("say", "dict"))
    warm_ups = [one for one in lines if one["kind"] == "attempt" and one["warm_up"]]
    assert len(warm_ups) == 1
    assert [one["nth"] for one in tries(lines, "dict")] == [3]
    measured = [one for one in tries(lines, "say") if not one["warm_up"]]
    assert float(rows["say"]["Time_Sec"]) == pytest.approx(measured[0]["time_s"], abs=1e-6)


@POSIX
def test_a_snippet_that_dies_as_warm_up_costs_its_own_row(run_puppet, clips):
    folder = clips("say", "dict")
    clips("say", "dict", "segfault", seconds=0.2)  # the shortest
    _, rows, _ = run_puppet(folder, "--retries", "0")
    assert {name: row["Outcome"] for name, row in rows.items()} == {
        "say": "ok",
        "dict": "ok",
        "segfault": "crashed",
    }


def test_a_recording_that_no_model_hears_is_no_warm_up(run_puppet, clips):
    folder = clips("say", "dict", "print")
    silent = folder / "99-silent.wav"  # although its text has words; the shortest
    soundfile.write(silent, np.zeros(1600, np.float32), 16_000)
    silent.with_suffix(".txt").write_text("hello world", encoding="utf-8")
    _, rows, lines = run_puppet(folder)
    assert rows["silent"]["Phase"] == "decode"
    heard = [one for one in lines if one["kind"] == "attempt" and one["outcome"] == "ok"]
    assert [(one["warm_up"], one["nth"], one["measured_before"]) for one in heard] == [
        (True, 1, 0), (False, 2, 0), (False, 3, 1), (False, 4, 2),
    ]  # fmt: skip


def test_an_answer_that_is_cold_although_a_warm_up_was_wanted_says_so(run_puppet, clips):
    """Its worker ends after each answer, so also after that to the warm-up."""
    slowly = "import sys, time; from orchestrator.run.live_worker import LiveWorker as Live\n"
    slowly += "idle = Live.ended_idle; Live.ended_idle = lambda one: time.sleep(0.5) or idle(one)\n"
    slowly += "from orchestrator.cli import main; sys.argv[0] = 'asrbench'; main()"
    done, rows, lines = run_puppet(
        clips("leave", "say"), "--max-crashes", "9", program=("-c", slowly)
    )
    assert "goes on without warm-up" in done.out
    assert {name: row["Outcome"] for name, row in rows.items()} == {"leave": "ok", "say": "ok"}
    assert "its time is without warm-up" in rows["leave"]["Notes"]
    ends = [(one["phase"], one["after"]) for one in lines if one["kind"] == "worker_ended"]
    assert ends == [("idle", "00-leave")] * 2


@POSIX
def test_a_death_at_load_is_told_although_the_next_load_succeeds(run_puppet, clips, tmp_path):
    done, rows, lines = run_puppet(clips("say"), "--models", "puppet-shaky")
    assert rows["say"]["Outcome"] == "ok"
    (ended,) = [one for one in lines if one["kind"] == "worker_ended"]
    assert (ended["phase"], ended["outcome"], ended["after"]) == ("load", "crashed", None)
    assert "SIGABRT" in ended["error"]
    assert "puppet-shaky: 1 deaths or hangs of its workers" in done.out
    (file,) = (tmp_path / "results" / "latest" / "crashes").iterdir()
    assert "SIGABRT" in file.read_text(encoding="utf-8")


def test_an_attempts_memory_is_not_that_of_a_failed_one_before(run_puppet, clips):
    """Also where one follows the other at once, which a quick failure does."""
    at_once = "import sys; from orchestrator.run import live_worker; live_worker.FRESH_S = 100.0\n"
    at_once += "from orchestrator.cli import main; sys.argv[0] = 'asrbench'; main()"
    _, rows, lines = run_puppet(clips("say", "spend", "dict"), program=("-c", at_once))
    assert rows["spend"]["Outcome"] == "failed"
    (spent,), (after,) = tries(lines, "spend"), tries(lines, "dict")
    assert spent["attempt_memory"]["peak_bytes"] > 200 << 20
    assert after["attempt_memory"]["peak_bytes"] < 150 << 20
