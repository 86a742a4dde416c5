"""Who is to blame, what a repeat and a warm-up are, what a crash leaves: through the command."""

from __future__ import annotations

import csv
import json
import shlex
import sys

import numpy as np
import pytest
import soundfile
from conftest import ROOT, STACKS

from orchestrator.cli.memory_size import memory_size
from orchestrator.run.replay import Replayed

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX way to die")


@pytest.fixture
def run(asrbench, puppet_env, tmp_path):
    """Run the puppet; returns what the command did, its rows by behaviour, its journal's lines."""

    def go(folder, *arguments, **how):
        results = tmp_path / "results"
        done = asrbench(
            "orchestrate", "--models", "puppet", "--stacks", STACKS, "--snippets", folder,
            "--results", results, "--timeout", "2", *arguments, **how,
        )  # fmt: skip
        assert "Traceback" not in done.err, done.err
        latest = results / "latest"
        with (latest / "results.csv").open(encoding="utf-8", newline="") as file:
            rows = {row["Snippet"].partition("-")[2]: row for row in csv.DictReader(file)}
        lines = (latest / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        return done, rows, [json.loads(line) for line in lines]

    return go


def tries(lines, name):
    return [x for x in lines if x["kind"] == "attempt" and x["snippet"].endswith(f"-{name}")]


@POSIX
def test_suspects_are_tried_again_alone_and_blamed(run, clips):
    done, rows, lines = run(clips("say", "segfault", "say", "not_first", "once", "dict"))
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
def test_what_failed_in_a_fresh_worker_and_not_again_is_called_so(run, clips):
    _, rows, _ = run(clips("once", "dict"), "--no-warm-up")
    assert rows["once"]["Blame"] == "did not happen again"
    assert rows["once"]["Outcome"] == "ok"


@POSIX
def test_those_that_failed_while_it_was_not_warm_yet_are_others_too(run, clips):
    _, rows, _ = run(clips("raise", "raise", "not_first"))
    assert rows["not_first"]["Blame"] == "only after others did it fail"


def test_a_worker_that_cannot_be_watched_costs_its_own_model_only(run, clips):
    """There is no room for a thread below a limit of processes."""
    refused = "import sys; from orchestrator.run import live_worker\n"
    refused += "def refuse(worker): raise RuntimeError('no thread')\n"
    refused += "live_worker.Surroundings = refuse\n"
    refused += "from orchestrator.cli import main; sys.argv[0] = 'asrbench'; main()"
    done, rows, _ = run(clips("say"), program=("-c", refused))
    assert done.code == 3
    assert "cannot be watched: no thread" in rows["say"]["Error"]
    assert (rows["say"]["Outcome"], rows["say"]["Phase"]) == ("failed", "load")
    assert "deaths" not in done.out


@POSIX
def test_without_retries_nobody_is_blamed(run, clips):
    _, rows, lines = run(clips("segfault", "say"), "--retries", "0", "--no-warm-up")
    assert rows["segfault"]["Blame"] == ""
    assert len(tries(lines, "segfault")) == 1


def test_each_snippet_is_measured_so_many_times(run, clips):
    done, rows, lines = run(clips("say", "dict"), "--repeat", "3")
    assert done.code == 0
    assert [one["repeat"] for one in tries(lines, "say") if not one["warm_up"]] == [1, 2, 3]
    times = sorted(one["time_s"] for one in tries(lines, "say") if not one["warm_up"])
    assert float(rows["say"]["Time_Sec"]) == pytest.approx(times[1], abs=1e-6)
    assert float(rows["say"]["Time_Sec_Min"]) == pytest.approx(times[0], abs=1e-6)
    assert float(rows["say"]["Time_Sec_Max"]) == pytest.approx(times[2], abs=1e-6)
    assert rows["say"]["Repeats"] == "3"
    assert "repeats:3|warm-up:1" in done.out


def test_repeats_that_are_missing_are_made_on_resume(run, clips, asrbench, tmp_path):
    run(clips("say", "dict"), "--repeat", "2")
    journal = tmp_path / "results" / "latest" / "journal.jsonl"
    whole = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(whole[:-1]))
    done = asrbench("orchestrate", "--resume", "latest", "--results", tmp_path / "results")
    assert "puppet: 1 snippets to do" in done.out
    assert done.code == 0


def test_the_first_inference_of_a_worker_is_marked_and_left_out(run, clips):
    _, rows, lines = run(clips("say", "dict"))
    warm_ups = [one for one in lines if one["kind"] == "attempt" and one["warm_up"]]
    assert len(warm_ups) == 1
    assert [one["nth"] for one in tries(lines, "dict")] == [3]
    measured = [one for one in tries(lines, "say") if not one["warm_up"]]
    assert float(rows["say"]["Time_Sec"]) == pytest.approx(measured[0]["time_s"], abs=1e-6)


@POSIX
def test_a_snippet_that_dies_as_warm_up_costs_its_own_row(run, clips):
    folder = clips("say", "dict")
    clips("say", "dict", "segfault", seconds=0.2)  # the shortest
    _, rows, _ = run(folder, "--retries", "0")
    assert {name: row["Outcome"] for name, row in rows.items()} == {
        "say": "ok",
        "dict": "ok",
        "segfault": "crashed",
    }


def test_a_recording_that_no_model_hears_is_no_warm_up(run, clips):
    folder = clips("say", "dict", "print")
    silent = folder / "99-silent.wav"  # although its text has words; the shortest
    soundfile.write(silent, np.zeros(1600, np.float32), 16_000)
    silent.with_suffix(".txt").write_text("hello world", encoding="utf-8")
    _, rows, lines = run(folder)
    assert rows["silent"]["Phase"] == "decode"
    heard = [one for one in lines if one["kind"] == "attempt" and one["outcome"] == "ok"]
    assert [(one["warm_up"], one["nth"], one["measured_before"]) for one in heard] == [
        (True, 1, 0), (False, 2, 0), (False, 3, 1), (False, 4, 2),
    ]  # fmt: skip


def test_an_answer_that_is_cold_although_a_warm_up_was_wanted_says_so(run, clips):
    """Its worker ends after each answer, so also after that to the warm-up."""
    slowly = "import sys, time; from orchestrator.run.live_worker import LiveWorker as Live\n"
    slowly += "idle = Live.ended_idle; Live.ended_idle = lambda one: time.sleep(0.5) or idle(one)\n"
    slowly += "from orchestrator.cli import main; sys.argv[0] = 'asrbench'; main()"
    done, rows, lines = run(clips("leave", "say"), "--max-crashes", "9", program=("-c", slowly))
    assert "goes on without warm-up" in done.out
    assert {name: row["Outcome"] for name, row in rows.items()} == {"leave": "ok", "say": "ok"}
    assert "its time is without warm-up" in rows["leave"]["Notes"]
    ends = [(one["phase"], one["after"]) for one in lines if one["kind"] == "worker_ended"]
    assert ends == [("idle", "00-leave")] * 2


@POSIX
def test_a_crash_leaves_a_capsule_and_can_be_replayed(run, clips, asrbench, tmp_path):
    folder = clips("say", "segfault")
    for suffix in (".wav", ".txt"):
        (folder / f"01-segfault{suffix}").rename(folder / f"-s $(touch pwned);&'{suffix}")
    run(folder, "--retries", "0")
    latest = tmp_path / "results" / "latest"
    before = (latest / "journal.jsonl").read_bytes()
    (file,) = (latest / "crashes").iterdir()
    capsule = file.read_text(encoding="utf-8")
    assert "SIGSEGV" in capsule
    assert "in _segfault" in capsule
    assert "sent: number" in capsule
    command = next(line for line in capsule.splitlines() if line.startswith("again"))
    words = shlex.split(command)
    assert words[1:4] == ["asrbench", "replay", "--"]
    assert words[4:] == [str(latest.resolve()), "puppet", "-s $(touch pwned);&'"]
    done = asrbench(*words[2:])
    assert done.code == 1
    assert "SIGSEGV" in done.out
    assert (latest / "journal.jsonl").read_bytes() == before
    fine = asrbench("replay", "latest", "puppet", "00-say", "--results", latest.parent, "--json")
    assert fine.code == 0
    assert fine.json()["ends"][0]["text"] == "hello world"


@POSIX
def test_a_death_at_load_is_told_although_the_next_load_succeeds(run, clips, tmp_path):
    done, rows, lines = run(clips("say"), "--models", "puppet-shaky")
    assert rows["say"]["Outcome"] == "ok"
    (ended,) = [one for one in lines if one["kind"] == "worker_ended"]
    assert (ended["phase"], ended["outcome"], ended["after"]) == ("load", "crashed", None)
    assert "SIGABRT" in ended["error"]
    assert "puppet-shaky: 1 deaths or hangs of its workers" in done.out
    (file,) = (tmp_path / "results" / "latest" / "crashes").iterdir()
    assert "SIGABRT" in file.read_text(encoding="utf-8")


def test_another_memory_limit_measures_anew(run, clips, asrbench, tmp_path):
    _, rows, _ = run(clips("allocate"), "--memory-limit", "120MB", "--retries", "0")
    assert rows["allocate"]["Outcome"] == "out_of_memory"
    resume = ("orchestrate", "--resume", "latest", "--results", tmp_path / "results")
    assert "puppet: 0 snippets to do" in asrbench(*resume).out
    done = asrbench(*resume, "--memory-limit", "4GB")
    assert "puppet: 1 snippets to do" in done.out
    assert done.code == 0


def test_an_attempts_memory_is_not_that_of_a_failed_one_before(run, clips):
    """Also where one follows the other at once, which a quick failure does."""
    at_once = "import sys; from orchestrator.run import live_worker; live_worker.FRESH_S = 100.0\n"
    at_once += "from orchestrator.cli import main; sys.argv[0] = 'asrbench'; main()"
    _, rows, lines = run(clips("say", "spend", "dict"), program=("-c", at_once))
    assert rows["spend"]["Outcome"] == "failed"
    (spent,), (after,) = tries(lines, "spend"), tries(lines, "dict")
    assert spent["attempt_memory"]["peak_bytes"] > 200 << 20
    assert after["attempt_memory"]["peak_bytes"] < 150 << 20


@POSIX
def test_a_hang_shows_where_it_hangs(run, clips, tmp_path):
    run(clips("spin", seconds=0.1), "--retries", "0", "--no-warm-up")
    (file,) = (tmp_path / "results" / "latest" / "crashes").iterdir()
    assert "in _spin" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nobody", "puppet"), "unknown run"),
        (("latest", "pupet"), "did you mean 'puppet'?"),
        (("latest", "puppet", "00-sya"), "did you mean '00-say'?"),
    ],
)
def test_a_replay_of_what_is_not_there_says_so(run, clips, asrbench, tmp_path, arguments, words):
    run(clips("say"))
    done = asrbench("replay", *arguments, "--results", tmp_path / "results")
    assert done.code == 2
    assert words in done.err


def test_a_replay_that_cannot_be_made_says_so(run, clips, asrbench, tmp_path):
    folder = clips("say")
    for suffix, content in ((".wav", b"RIFF"), (".txt", b"words")):
        (folder / f"broken{suffix}").write_bytes(content)
    run(folder)
    results = tmp_path / "results"
    for as_json in ([], ["--json"]):
        done = asrbench("replay", "latest", "puppet", "broken", "--results", results, *as_json)
        assert (done.code, done.out) == (2, "")
        assert "error: broken: " in done.err
        assert "no model can be tried on it" in done.err
    (results / "latest" / "replays").write_text("a file", encoding="utf-8")
    done = asrbench("replay", "latest", "puppet", "00-say", "--results", results)
    assert done.code == 2
    assert "error: cannot make " in done.err


def test_a_replay_without_an_attempt_is_not_ok(tmp_path):
    assert not Replayed([], tmp_path).ok


@POSIX
def test_the_command_that_replays_names_the_run_itself(puppet_env, clips, asrbench, tmp_path):
    """Not a link that soon points elsewhere, nor a path from where somebody once stood."""
    here = {"cwd": tmp_path, "env": {"PYTHONPATH": str(ROOT)}}
    started = asrbench(
        "orchestrate", "--models", "puppet", "--stacks", STACKS, "--snippets", clips("segfault"),
        "--retries", "0", "--no-warm-up", "--results", "r", **here,
    )  # fmt: skip
    assert started.code == 3, started.err
    folder = (tmp_path / "r" / "latest").resolve()
    journal = folder / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    asrbench("orchestrate", "--resume", "latest", "--results", "r", **here)
    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    commands = [line["crash"]["replay"] for line in lines if line.get("crash")]
    assert len(commands) == 1
    assert shlex.split(commands[0])[3] == str(folder)


@pytest.mark.parametrize(
    "size",
    ["12 apples", "-1GB", "1KB", "nan", "16GB/2", "4GB 16GB", "4GB%", "12,5GB", "1e9", "9" * 30,
     "9" * 18 + "TB", "", "GB"],
)  # fmt: skip
def test_a_memory_limit_must_be_a_size(asrbench, size):
    done = asrbench("orchestrate", f"--memory-limit={size}")
    assert done.code == 2
    assert f"--memory-limit {size}: expected a size such as 12GB" in done.err
    assert "16MB or more" in done.err


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("16000000", 16_000_000), ("16000000b", 16_000_000), ("16000KB", 16_000_000),
        ("12GB", 12 * 10**9), ("1.5 gib", 3 << 29), ("0.5TB", 5 * 10**11), ("2TiB", 2 << 40),
        ("20480KiB", 20 << 20), ("100mib", 100 << 20), ("0.1GB", 10**8),
    ],
)  # fmt: skip
def test_a_memory_limit_is_what_it_says(text, size_bytes):
    assert memory_size(text) == size_bytes


def test_over_the_memory_limit_is_out_of_memory_with_a_lower_bound(run, clips):
    done, rows, _ = run(clips("say", "allocate", "dict"), "--memory-limit", "120MB")
    assert done.code == 1
    assert rows["allocate"]["Outcome"] == "out_of_memory"
    assert rows["allocate"]["Blame"] == "this snippet kills the model"
    assert "limit of 120 MB" in rows["allocate"]["Error"]
    assert rows["allocate"]["Peak_RAM_Bound"] == "lower"
    assert rows["say"]["Outcome"] == rows["dict"]["Outcome"] == "ok"
