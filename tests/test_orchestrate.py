"""The main job, driven from the command line as a person does."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, STACKS, runs

TEN_COLUMNS = "Model,Snippet,Transcript,Reference,WER,Time_Sec,RTF,Peak_RAM_MB,Load_Time_Sec,Error"
SHORT = ROOT / "snippets" / "clean"


def read_rows(results):
    with (results / "latest" / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def two_clips(tmp_path):
    """Two shipped recordings and their texts, in a folder of their own."""
    folder = tmp_path / "zwei Clips"
    folder.mkdir()
    for name in ("short-reply", "last-train"):
        for file in SHORT.glob(f"{name}.*"):
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_a_real_engine_recognises_real_words(asrbench, two_clips, tmp_path):
    done = asrbench("orchestrate", "--snippets", two_clips, "--results", tmp_path / "r")
    assert done.code == 0, done.err + done.out
    header = (tmp_path / "r" / "latest" / "results.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header.startswith(TEN_COLUMNS)
    rows = {row["Snippet"]: row for row in read_rows(tmp_path / "r")}
    assert rows["short-reply"]["Transcript"] == "i will be there soon"
    assert rows["short-reply"]["Reference"] == "I will be there soon."
    assert float(rows["short-reply"]["WER"]) == 0.0
    for row in rows.values():
        assert float(row["Time_Sec"]) > 0
        assert float(row["RTF"]) == pytest.approx(
            float(row["Time_Sec"]) / float(row["Audio_Sec"]), rel=1e-3
        )
        assert 100 < float(row["Peak_RAM_MB"]) < 400
        parts = [f"Load_{part}_Sec" for part in ("Spawn", "Interpreter", "Imports", "Weights")]
        assert sum(float(row[part]) for part in parts) == pytest.approx(
            float(row["Load_Time_Sec"]), abs=1e-4
        )
        assert row["Error"] == ""
    assert "WER %" in done.out
    assert "signature asrbench:" in done.out


def test_the_run_record_says_what_was_measured_where(asrbench, two_clips, tmp_path):
    asrbench("orchestrate", "--snippets", two_clips, "--results", tmp_path / "r", "--quiet")
    record = json.loads((tmp_path / "r" / "latest" / "run.json").read_text(encoding="utf-8"))
    assert record["machine"]["ram_bytes"] == psutil.virtual_memory().total
    assert set(record["machine"]["versions"]) == {"asrbench", "python", "uv"}
    assert len(record["envs"]["pocketsphinx"]["lock_sha256"]) == 64
    assert record["options"]["models"] == ["pocketsphinx"]
    assert record["exit_code"] == 0
    assert record["snippet_set_sha256"][:12] in record["signature"]


def test_json_on_stdout_is_one_document(asrbench, puppet_env, clips, tmp_path):
    done = asrbench(
        "orchestrate", "--models", "puppet", "--stacks", STACKS, "--snippets",
        clips("say", "raise"), "--results", tmp_path / "r", "--json",
    )  # fmt: skip
    assert done.code == 1
    document = done.json()
    assert document["exit_code"] == 1
    assert [row["outcome"] for row in document["rows"]] == ["ok", "failed"]
    assert document["summary"][0]["wer"] == 0.5
    assert "puppet: 01-raise: failed" in done.err


def test_a_third_partys_stack_is_locked_built_run_and_scored(asrbench, clips, tmp_path):
    stack = tmp_path / "my stacks" / "echo"
    stack.mkdir(parents=True)
    (stack / "pyproject.toml").write_text(
        """
[project]
name = "echo"
version = "0"
requires-python = ">=3.10"
dependencies = ["msgpack", "numpy"]
[tool.asrbench]
worker = "worker.py"
accelerators = ["cpu"]
[tool.asrbench.models.echo-loud]
options = { word = "hello" }
transcribe_options = { times = 2 }
""",
        encoding="utf-8",
    )
    (stack / "words.py").write_text("LAST = 'world'\n", encoding="utf-8")
    (stack / "worker.py").write_text(
        """
from .words import LAST
def load(checkpoint, device, word):
    return word
def transcribe(model, audio, times):
    return " ".join([model] * (times - 1) + [LAST])
""",
        encoding="utf-8",
    )
    done = asrbench(
        "orchestrate", "--models", "echo-loud", "--stacks", stack.parent,
        "--snippets", clips("say"), "--results", tmp_path / "r",
    )  # fmt: skip
    assert done.code == 0, done.out + done.err
    assert "has no lock yet" in done.out
    assert (stack / "requirements.lock").is_file()
    assert [row["Transcript"] for row in read_rows(tmp_path / "r")] == ["hello world"]


def start(environment, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "orchestrate", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        preexec_fn=_heed_ctrl_c,  # noqa: PLW1509 no threads here
    )


def _heed_ctrl_c():
    """A test run in the background has been told to ignore it, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_for(condition, seconds=30):
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def worker_of(controller):
    def find():
        for child in psutil.Process(controller.pid).children():
            if "host.py" in " ".join(child.cmdline()):
                return child
        return None

    return wait_for(find)


def outcomes(results):
    return {row["Snippet"]: row["Outcome"] for row in read_rows(results)}


def journal_lines(results):
    files = list(results.glob("2*/journal.jsonl"))
    return files[0].read_bytes().count(b'"kind":"attempt"') if files else 0


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL"])
def test_a_worker_killed_from_outside_costs_one_row(environment, puppet_env, clips, tmp_path, name):
    results = tmp_path / "r"
    controller = start(
        environment, "--models", "puppet", "--stacks", STACKS, "--results", results,
        "--snippets", clips("say", "sleep", "dict"),
    )  # fmt: skip
    wait_for(lambda: journal_lines(results) == 1)
    worker_of(controller).send_signal(getattr(signal, name))
    out, _ = controller.communicate(timeout=60)
    assert controller.returncode == 1, out
    assert outcomes(results) == {"00-say": "ok", "01-sleep": "crashed", "02-dict": "ok"}
    assert name in [row["Error"] for row in read_rows(results)][1]


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_a_killed_controller_leaves_no_orphan_and_resumes_to_the_same_rows(
    environment, asrbench, puppet_env, clips, tmp_path
):
    folder = clips("say", "raise", "sleep", "dict", seconds=0.1)
    common = ["--models", "puppet", "--stacks", STACKS, "--snippets", folder, "--timeout", "2"]
    asrbench("orchestrate", *common, "--results", tmp_path / "undisturbed")

    results = tmp_path / "r"
    controller = start(environment, *common, "--results", results)
    wait_for(lambda: journal_lines(results) == 2)
    worker = worker_of(controller)
    controller.kill()
    controller.communicate(timeout=10)
    wait_for(lambda: not runs(worker.pid), seconds=5)

    done = asrbench("orchestrate", "--resume", "latest", "--results", results)
    assert outcomes(results) == outcomes(tmp_path / "undisturbed")
    assert done.code == 1
    assert "puppet: 2 snippets to do" in done.out
    assert journal_lines(results) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_run_says_so_and_can_go_on(
    environment, asrbench, puppet_env, clips, tmp_path, name
):
    results, folder = tmp_path / "r", clips("say", "sleep", "dict", seconds=0.1)
    controller = start(
        environment, "--models", "puppet", "--stacks", STACKS, "--results", results,
        "--snippets", folder, "--timeout", "2",
    )  # fmt: skip
    wait_for(lambda: journal_lines(results) == 1)
    worker = worker_of(controller)
    controller.send_signal(getattr(signal, name))
    out, _ = controller.communicate(timeout=30)
    assert controller.returncode == 130
    assert "Traceback" not in out
    assert "--resume" in out
    assert not runs(worker.pid)
    assert outcomes(results) == {"00-say": "ok", "01-sleep": "", "02-dict": ""}
    asrbench("orchestrate", "--resume", "latest", "--results", results)
    assert outcomes(results) == {"00-say": "ok", "01-sleep": "timed_out", "02-dict": "ok"}


def test_a_torn_last_line_is_dropped_and_said(asrbench, puppet_env, clips, tmp_path):
    results = tmp_path / "r"
    asrbench(
        "orchestrate", "--models", "puppet", "--stacks", STACKS, "--results", results,
        "--snippets", clips("say", "dict"),
    )  # fmt: skip
    journal = results / "latest" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    done = asrbench("orchestrate", "--resume", "latest", "--results", results)
    assert done.code == 0
    assert "torn" in done.out
    assert "puppet: 1 snippets to do" in done.out
    assert outcomes(results) == {"00-say": "ok", "01-dict": "ok"}


def test_a_changed_recording_is_heard_again_on_resume(asrbench, puppet_env, clips, tmp_path):
    results, folder = tmp_path / "r", clips("raise", "dict")
    arguments = ["--models", "puppet", "--stacks", STACKS, "--snippets", folder]
    asrbench("orchestrate", *arguments, "--results", results)
    (folder / "00-raise.wav").write_bytes((folder / "01-dict.wav").read_bytes())
    done = asrbench("orchestrate", "--resume", "latest", "--results", results)
    assert done.code == 0, done.out
    assert "puppet: 1 snippets to do" in done.out


def test_a_run_folder_in_use_names_its_holder(environment, asrbench, puppet_env, clips, tmp_path):
    results = tmp_path / "r"
    controller = start(
        environment, "--models", "puppet", "--stacks", STACKS, "--results", results,
        "--snippets", clips("sleep"),
    )  # fmt: skip
    try:
        wait_for(lambda: list(results.glob("2*/journal.jsonl")))
        done = asrbench("orchestrate", "--resume", "latest", "--results", results)
    finally:
        controller.terminate()
        controller.communicate(timeout=30)
    assert done.code == 2
    assert f"process {controller.pid}" in done.err


def test_report_scores_a_run_again_without_running_a_model(asrbench, puppet_env, clips, tmp_path):
    results = tmp_path / "r"
    asrbench(
        "orchestrate", "--models", "puppet", "--stacks", STACKS, "--results", results,
        "--snippets", clips("say", "raise"),
    )  # fmt: skip
    csv_file = results / "latest" / "results.csv"
    before = csv_file.read_bytes()
    csv_file.unlink()
    done = asrbench("report", "latest", "--results", results)
    assert done.code == 0, done.err
    assert csv_file.read_bytes() == before


def test_models_that_need_a_checkpoint_are_named_with_the_command_that_gets_it(asrbench, tmp_path):
    stack = tmp_path / "far"
    stack.mkdir()
    text = (STACKS / "puppet" / "pyproject.toml").read_text(encoding="utf-8")
    text = text.partition("[tool.asrbench.models")[0].replace('"puppet"', '"far"')
    text += (
        '[tool.asrbench.models.far-away]\ncheckpoint = "owner/repo:model.bin"\nrevision = "ab"\n'
    )
    (stack / "pyproject.toml").write_text(text, encoding="utf-8")
    (stack / "worker.py").write_bytes((STACKS / "puppet" / "worker.py").read_bytes())
    (tmp_path / "clips").mkdir()
    for suffix in (".wav", ".txt"):
        source = SHORT / f"short-reply{suffix}"
        (tmp_path / "clips" / source.name).write_bytes(source.read_bytes())
    common = ["--stacks", stack, "--snippets", tmp_path / "clips", "--results", tmp_path / "r"]
    done = asrbench("orchestrate", *common)
    assert done.code == 0
    assert "not run: far-away: " in done.out
    assert "hf download owner/repo model.bin --revision ab" in done.out

    done = asrbench("orchestrate", "--models", "all", *common)
    assert done.code == 1
    row = next(row for row in read_rows(tmp_path / "r") if row["Model"] == "far-away")
    assert (row["Outcome"], row["Phase"]) == ("failed", "download")

    cache = tmp_path / "hub" / "models--owner--repo" / "snapshots" / "ab"
    cache.mkdir(parents=True)
    (cache / "model.bin").write_bytes(b"weights")
    listed = asrbench(
        "models", "list", "--stacks", stack, "--json", env={"HF_HUB_CACHE": str(tmp_path / "hub")}
    )
    assert {one["model"]: one["ready"] for one in listed.json()}["far-away"] is True


def test_the_live_view_draws_on_a_terminal(environment, puppet_env, clips, tmp_path):
    """Under a real pseudo-terminal, as a person sees it."""
    pty = pytest.importorskip("pty")
    primary, secondary = pty.openpty()
    controller = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "orchestrate", "--models", "puppet", "--stacks",
         str(STACKS), "--snippets", str(clips("say", "generator", "raise")), "--results",
         str(tmp_path / "r")],
        cwd=ROOT, env=environment | {"TERM": "xterm-256color"}, stdin=subprocess.DEVNULL,
        stdout=secondary, stderr=secondary,
    )  # fmt: skip
    os.close(secondary)
    screen = b""
    while True:
        try:
            chunk = os.read(primary, 65536)
        except OSError:
            break
        if not chunk:
            break
        screen += chunk
    os.close(primary)
    assert controller.wait(timeout=30) == 1
    text = screen.decode("utf-8", "replace")
    assert "3/3" in text
    assert "done" in text
    assert "\x1b[" in text
    assert "Traceback" not in text


def test_help_is_there_for_every_command(asrbench):
    for words in (
        [], ["orchestrate"], ["report"], ["models"], ["models", "list"], ["snippets", "check"],
        ["env"], *(["env", verb] for verb in "build rebuild list check lock remove".split()),
    ):  # fmt: skip
        done = asrbench(*words, "-h")
        assert done.code == 0, words
        assert "Usage:" in done.out


def test_help_imports_nothing_heavy(environment):
    code = "import sys, orchestrator.cli; print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    for heavy in ("numpy", "pydantic", "rich", "jiwer", "soundfile"):
        assert f"'{heavy}'" not in done.stdout


def test_a_path_is_written_for_programs_that_read_results(asrbench, two_clips, tmp_path):
    done = asrbench("orchestrate", "--snippets", two_clips, "--results", tmp_path / "r", "--quiet")
    last = done.out.strip().splitlines()[-1]
    assert Path(last.split(maxsplit=1)[1]).is_file()
