"""A command that a message names can be pasted, also where its path has spaces and quotes."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from conftest import ROOT, STACKS
from test_interruptions import journal_lines, start, wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell takes them")
ODD = "what's here"


@pytest.fixture
def paste(asrbench):
    """Run what stands behind these words in a message."""

    def run(message, words):
        assert words in message, message
        command = message.partition(words)[2].splitlines()[0]
        program, *arguments = shlex.split(command)
        assert program == "asrbench"
        return asrbench(*arguments)

    return run


@pytest.fixture
def arguments(puppet_env, clips, tmp_path):
    """A run of snippets that do this."""
    return lambda *behaviours: [
        "--models", "puppet", "--stacks", STACKS, "--snippets", clips(*behaviours, seconds=0.1),
        "--results", tmp_path / ODD, "--timeout", "2", "--retries", "0",
    ]  # fmt: skip


def test_an_interrupted_run_goes_on_by_the_command_it_ended_with(
    environment, paste, arguments, tmp_path
):
    controller = start(environment, *arguments("say", "sleep"))
    wait_for(lambda: journal_lines(tmp_path / ODD) == 1)
    controller.send_signal(signal.SIGINT)
    out, _ = controller.communicate(timeout=30)
    assert controller.returncode == 130
    resumed = paste(out, "go on    ")
    assert "puppet: 1 snippet to do" in resumed.out, resumed.err


def test_a_run_on_a_full_disk_goes_on_by_the_command_in_its_error(
    environment, paste, puppet_env, clips, tmp_path
):
    import resource

    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "orchestrate", "--models", "puppet", "--stacks",
         STACKS, "--snippets", clips(*["say"] * 20), "--results", tmp_path / ODD],
        cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=100,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000)),
    )  # fmt: skip
    resumed = paste(done.stderr, "go on with: ")
    assert resumed.code == 0, resumed.err


def test_a_report_that_cannot_be_written_is_made_by_the_command_in_its_error(
    asrbench, paste, arguments, tmp_path
):
    asrbench("orchestrate", *arguments("say"))
    results = (tmp_path / ODD / "latest").resolve() / "results.csv"
    results.unlink()
    (results / "in the way").mkdir(parents=True)
    refused = asrbench("report", results.parent)
    assert refused.code == 2
    (results / "in the way").rmdir()
    results.rmdir()
    assert paste(refused.err, "then: ").code == 0
    assert results.is_file()


def test_snippets_that_cannot_be_used_are_listed_by_the_command_in_the_error(
    asrbench, paste, puppet_env, clips
):
    folder = clips("say", "dict", folder=ODD)
    for text in folder.glob("*.txt"):
        text.unlink()
    refused = asrbench("orchestrate", "--models", "puppet", "--stacks", STACKS,
                       "--snippets", folder)  # fmt: skip
    assert refused.code == 2
    assert "0 of 2 recordings can be used" in paste(refused.err, "All of them: ").out


def test_a_recording_is_mended_by_a_quoted_command(in_process, tmp_path):
    (tmp_path / f"{ODD}.m4a").write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(999))
    streamed = tmp_path / f"{ODD}, streamed.wav"
    soundfile.write(streamed, np.full(16_000, 0.1), 16_000)
    content = bytearray(streamed.read_bytes())
    content[4:8] = content[40:44] = bytes(4)  # as a writer leaves it that was killed
    streamed.write_bytes(content)
    for recording in list(tmp_path.iterdir()):
        recording.with_suffix(".txt").write_text("hello", encoding="utf-8")
    problems = in_process("snippets", "check", tmp_path).out.splitlines()[:2]
    commands = sorted(shlex.split(line.rpartition(" it: ")[2]) for line in problems)
    assert commands == [
        ["ffmpeg", "-i", f"{ODD}.m4a", "NAME.wav"],
        ["sox", "--ignore-length", streamed.name, "NAME.wav"],
    ]
