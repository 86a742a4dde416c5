"""What a crash leaves, and the command that tries it again."""

from __future__ import annotations

import json
import shlex
import sys

import pytest
from conftest import ROOT, STACKS, write_clips

from orchestrator.run.replay import Replayed

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX way to die")


@POSIX
def test_a_crash_leaves_a_capsule_and_can_be_replayed(run_puppet, clips, asrbench, tmp_path):
    folder = clips("say", "segfault")
    for suffix in (".wav", ".txt"):
        (folder / f"01-segfault{suffix}").rename(folder / f"-s $(touch pwned);&'{suffix}")
    run_puppet(folder, "--retries", "0")
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
def test_a_hang_shows_where_it_hangs(run_puppet, clips, tmp_path):
    run_puppet(clips("spin", seconds=0.1), "--retries", "0", "--no-warm-up")
    (file,) = (tmp_path / "results" / "latest" / "crashes").iterdir()
    assert "in _spin" in file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def results(asrbench, puppet_env, tmp_path_factory):
    """The results of a run of one snippet."""
    place = tmp_path_factory.mktemp("replay")
    done = asrbench(
        "orchestrate", "--models", "puppet", "--stacks", STACKS, "--results", place / "results",
        "--snippets", write_clips(place / "clips", ["say"], 0.1), "--no-warm-up",
    )  # fmt: skip
    assert done.code == 0, done.err
    return place / "results"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nobody", "puppet"), "unknown run"),
        (("latest", "pupet"), "did you mean 'puppet'?"),
        (("latest", "puppet", "00-sya"), "did you mean '00-say'?"),
    ],
)
def test_a_replay_of_what_is_not_there_says_so(results, in_process, arguments, words):
    done = in_process("replay", *arguments, "--results", results)
    assert done.code == 2
    assert words in done.err


def test_a_replay_that_cannot_be_made_says_so(run_puppet, clips, in_process, tmp_path):
    folder = clips("say")
    for suffix, content in ((".wav", b"RIFF"), (".txt", b"words")):
        (folder / f"broken{suffix}").write_bytes(content)
    run_puppet(folder)
    results = tmp_path / "results"
    for as_json in ([], ["--json"]):
        done = in_process("replay", "latest", "puppet", "broken", "--results", results, *as_json)
        assert (done.code, done.out) == (2, "")
        assert "error: broken: " in done.err
        assert "no model can be tried on it" in done.err
    (results / "latest" / "replays").write_text("a file", encoding="utf-8")
    done = in_process("replay", "latest", "puppet", "00-say", "--results", results)
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
