"""Wrong input: a clear error that names the thing and says what to do, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, STACKS

FULL = Path("/dev/full")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["orchestrat"], "did you mean 'orchestrate'?"),
        (["orchestrate", "--models", "pocketsphynx"], "did you mean 'pocketsphinx'?"),
        (["orchestrate", "--models", ","], "--models names no model"),
        (["orchestrate", "--snippets", "no/such/folder"], "there is no such folder or manifest"),
        (["orchestrate", "--stacks", "no/such/folder"], "there is no such folder"),
        (["orchestrate", "--resume", "never"], "unknown run 'never'"),
        (["orchestrate", "--timeout", "0"], "0.0 is not in the range"),
        (["orchestrate", "--batch", "all"], "'all' is neither auto nor a number from 1 to 256"),
        (["orchestrate", "--batch", "0"], "'0' is neither auto nor"),
        (["orchestrate", "--timeout", "nan"], "--timeout"),
        (["orchestrate", "--max-crashes", "0"], "--max-crashes"),
        (["orchestrate", "--repeat", "100000000000000000000"], "--repeat"),
        (["orchestrate", "--retries", "1001"], "0<=x<=1000"),
        (["orchestrate", "--checkpoint", "pocketsphinx"], "expected MODEL=PATH"),
        (["orchestrate", "--checkpoint", "pocketsphinks=x"], "did you mean 'pocketsphinx'?"),
        (
            ["orchestrate", "--checkpoint", "pocketsphinx=no/such"],
            "there is no such file or folder",
        ),
        (
            ["orchestrate", "--checkpoint", "pocketsphinx=~/no-such"],
            str(Path.home() / "no-such"),
        ),
        (["orchestrate", "--checkpoint", "pocketsphinx=~nobody-at-all/x"], "nobody-at-all"),
        (
            ["orchestrate", "--checkpoint", "pocketsphinx=.", "--checkpoint", "pocketsphinx=.."],
            "--checkpoint is given twice for pocketsphinx",
        ),
        (["orchestrate", "--checkpoint", f"pocketsphinx={'x' * 300}"], "pocketsphinx="),
        (["models", "check", "pocketsphinx", "--checkpoint", "x" * 300], "pocketsphinx="),
        (
            ["models", "check", "pocketsphinx", "--checkpoint", "a", "--checkpoint", "b"],
            "--checkpoint is given twice",
        ),
        (["orchestrate", "--checkpoint", "pocketsphinx=./~x"], "~x: there is no such file"),
        (["orchestrate", "--bogus"], "No such option"),
        (["env", "build", "pocketsfinx"], "did you mean 'pocketsphinx'?"),
        (["env", "remove", "nothing"], "unknown stack 'nothing'"),
        (["report", "never"], "unknown run 'never'"),
        (["snippets", "check", "no/such/folder"], "there is no such folder or manifest"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_sentence(
    in_process, monkeypatch, tmp_path, arguments, words
):
    monkeypatch.chdir(tmp_path)
    done = in_process(*arguments)
    assert done.code == 2, done.out + done.err
    assert words in done.err
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_results_that_cannot_be_written_are_said_before_any_model_runs(
    in_process, puppet_env, clips, tmp_path
):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, not a folder", encoding="utf-8")
    done = in_process(
        "orchestrate", "--models", "puppet", "--stacks", STACKS, "--snippets", clips("say"),
        "--results", blocked / "r",
    )  # fmt: skip
    assert done.code == 2
    assert "cannot write to" in done.err
    assert "--results" in done.err


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX file-size limit")
def test_a_disk_that_fills_up_is_said_and_costs_no_recorded_result(
    asrbench, environment, puppet_env, clips, tmp_path
):
    """The operating system refuses to let any file grow over a limit: a real failed write."""
    import resource

    results = tmp_path / "r"
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "orchestrate", "--models", "puppet", "--stacks",
         STACKS, "--snippets", clips(*["say"] * 20), "--results", results],
        cwd=ROOT, capture_output=True, encoding="utf-8", timeout=100,
        env=environment | {"PYTHONDONTWRITEBYTECODE": "1"},  # else half of what it compiles stays
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000)),
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "make room" in done.stderr
    assert "--resume" in done.stderr
    whole, _, _torn = (results / "latest" / "journal.jsonl").read_bytes().rpartition(b"\n")
    kept = whole.count(b'"warm_up":false,"outcome":"ok"')
    assert 0 < kept < 20
    again = asrbench("orchestrate", "--resume", "latest", "--results", results, "--json")
    assert again.code == 0, again.err
    assert len(again.json()["rows"]) == 20
    assert f"puppet: {20 - kept} snippets to do" in again.err
    assert all(row["time_s"] > 0 for row in again.json()["rows"])


def test_a_reader_that_goes_away_does_not_end_the_run(environment, puppet_env, clips, tmp_path):
    controller = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "orchestrate", "--models", "puppet", "--stacks",
         STACKS, "--snippets", clips("say", "dict", "raise"), "--results", tmp_path / "r"],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    controller.stdout.readline()
    controller.stdout.close()
    err = controller.stderr.read()
    controller.stderr.close()
    assert controller.wait(timeout=60) == 1  # one row failed, and nothing else
    assert err == b""
    assert (tmp_path / "r" / "latest" / "results.csv").is_file()


@pytest.mark.parametrize("arguments", [[], ["--quiet"], ["--json"]], ids=" ".join)
def test_a_reader_that_goes_away_does_not_change_the_exit_code(
    environment, puppet_env, clips, tmp_path, arguments
):
    """What is printed at the end finds nobody: every row is ok, and so is the run."""
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "orchestrate", "--models", "puppet", "--stacks",
         STACKS, "--snippets", clips("say"), "--results", tmp_path / "r", *arguments],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as controller:  # fmt: skip
        controller.stdout.close()
        err = controller.stderr.read()
    assert controller.returncode == 0
    assert b"Traceback" not in err
    assert b"error" not in err


@pytest.mark.skipif(not FULL.exists(), reason="Linux has a device that is full")
@pytest.mark.parametrize("arguments", [[], ["--quiet"], ["--json"]], ids=" ".join)
def test_a_full_stdout_is_one_line_on_stderr(environment, puppet_env, clips, tmp_path, arguments):
    with FULL.open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", "orchestrate", "--models", "puppet", "--stacks",
             STACKS, "--snippets", clips("say"), "--results", tmp_path / "r", *arguments],
            cwd=ROOT, env=environment, stdout=full, stderr=subprocess.PIPE, encoding="utf-8",
        )  # fmt: skip
    assert done.returncode == 1
    (error,) = [line for line in done.stderr.splitlines() if not line.startswith("[")]
    assert error.startswith("error: cannot write to stdout: ")
    assert error.endswith("results.csv")


def test_a_damaged_journal_is_refused_with_its_line(
    asrbench, in_process, puppet_env, clips, tmp_path
):
    results = tmp_path / "r"
    asrbench(
        "orchestrate", "--models", "puppet", "--stacks", STACKS, "--snippets", clips("say"),
        "--results", results,
    )  # fmt: skip
    journal = results / "latest" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], b'{"kind": "attempt"}\n', *lines[1:]]))
    done = in_process("report", "latest", "--results", results)
    assert done.code == 2
    assert "line 2 is damaged" in done.err


def test_bad_recordings_cost_their_own_rows(asrbench, puppet_env, clips, tmp_path):
    folder = clips("say", "dict")
    (folder / "empty.wav").write_bytes(b"")
    (folder / "empty.txt").write_text("words", encoding="utf-8")
    (folder / "lonely.wav").write_bytes((folder / "00-say.wav").read_bytes())
    (folder / "utf16.wav").write_bytes((folder / "00-say.wav").read_bytes())
    (folder / "utf16.txt").write_text("words", encoding="utf-16")
    done = asrbench(
        "orchestrate", "--models", "puppet", "--stacks", STACKS, "--snippets", folder,
        "--results", tmp_path / "r", "--json",
    )  # fmt: skip
    assert done.code == 1
    rows = {row["snippet"]: row for row in done.json()["rows"]}
    assert [name for name, row in rows.items() if row["outcome"] == "ok"] == ["00-say", "01-dict"]
    assert "0 bytes" in rows["empty"]["error"]
    assert "expected the spoken text in" in rows["lonely"]["error"]
    assert "UTF-16" in rows["utf16"]["error"]
    assert done.json()["summary"][0]["wer"] == 0.0


def test_broken_audio_found_while_streaming_leaves_the_worker_usable(
    asrbench, puppet_env, clips, tmp_path
):
    import numpy as np
    import soundfile

    folder = clips("say", "dict")
    samples = np.full(16_000 * 10, 0.01, np.float32)
    samples[16_000 * 9] = np.nan
    soundfile.write(folder / "00b-nan.wav", samples, 16_000, subtype="FLOAT")
    soundfile.write(folder / "00c-silent.wav", np.zeros(16_000), 16_000)
    for name in ("00b-nan", "00c-silent"):
        (folder / f"{name}.txt").write_text("hello world", encoding="utf-8")
    done = asrbench(
        "orchestrate", "--models", "puppet", "--stacks", STACKS, "--snippets", folder,
        "--results", tmp_path / "r", "--json",
    )  # fmt: skip
    rows = {row["snippet"]: row for row in done.json()["rows"]}
    assert "not a number at 9.000 s" in rows["00b-nan"]["error"]
    assert "is silent" in rows["00c-silent"]["error"]
    assert {rows[name]["phase"] for name in ("00b-nan", "00c-silent")} == {"decode"}
    assert rows["01-dict"]["outcome"] == "ok"
    starts = [row["load_s"] for row in rows.values() if row["outcome"] == "ok"]
    assert len(set(starts)) == 1  # one and the same worker throughout


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX file names")
def test_names_that_no_terminal_or_spreadsheet_likes_do_no_harm(
    asrbench, puppet_env, clips, tmp_path
):
    folder = clips("say")
    wav = (folder / "00-say.wav").read_bytes()
    for name in (b"=cmd()", b"caf\xc3\xa9 \xff", b"red[red]\x1b[31m"):
        for suffix, content in ((b".wav", wav), (b".txt", b"hello world")):
            (folder / os.fsdecode(name + suffix)).write_bytes(content)
    done = asrbench(
        "orchestrate", "--models", "puppet", "--stacks", STACKS, "--snippets", folder,
        "--results", tmp_path / "r",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "\x1b" not in done.out
    assert "'=cmd()" in (tmp_path / "r" / "latest" / "results.csv").read_text(encoding="utf-8")
