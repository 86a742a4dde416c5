"""The main job, driven from the command line as a person does."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import psutil
import pytest
from conftest import ROOT, STACKS

from orchestrator import cli

TEN_COLUMNS = "Model,Snippet,Transcript,Reference,WER,Time_Sec,RTF,Peak_RAM_MB,Load_Time_Sec,Error"
SHORT = ROOT / "snippets" / "clean"


def read_rows(results):
    with (results / "latest" / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def two_clips(tmp_path_factory):
    """Two shipped recordings and their texts, in a folder of their own."""
    folder = tmp_path_factory.mktemp("zwei Clips")
    for name in ("short-reply", "last-train"):
        for file in SHORT.glob(f"{name}.*"):
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture(scope="module")
def quiet_run(asrbench, two_clips, tmp_path_factory):
    """What a run with --quiet did, and its results."""
    results = tmp_path_factory.mktemp("quiet") / "r"
    return asrbench(
        "orchestrate", "--snippets", two_clips, "--results", results, "--quiet"
    ), results


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


def test_the_run_record_says_what_was_measured_where(quiet_run):
    _, results = quiet_run
    record = json.loads((results / "latest" / "run.json").read_text(encoding="utf-8"))
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
    assert "asrbench models download far-away" in done.out

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


def test_the_run_record_says_which_checkpoint_was_measured(asrbench, clips, tmp_path):
    stack = tmp_path / "far"
    stack.mkdir()
    text = (STACKS / "puppet" / "pyproject.toml").read_text(encoding="utf-8")
    text = text.partition("[tool.asrbench.models")[0].replace('"puppet"', '"far"')
    for name in ("fetched", "given", "none"):
        repository = "" if name == "none" else f'checkpoint = "owner/{name}"\n'
        text += f"[tool.asrbench.models.{name}]\n{repository}"
    (stack / "pyproject.toml").write_text(text, encoding="utf-8")
    for name in ("worker.py", "requirements.lock"):
        (stack / name).write_bytes((STACKS / "puppet" / name).read_bytes())
    snapshot = tmp_path / "hub" / "models--owner--fetched" / "snapshots" / ("ab" * 20)
    snapshot.mkdir(parents=True)
    by_hand = tmp_path / "by hand"
    for file in (snapshot / "model.bin", by_hand):
        file.write_bytes(b"weights")
    done = asrbench(
        "orchestrate", "--stacks", stack, "--snippets", clips("say"), "--models",
        "fetched,given,none", "--checkpoint", f"given={by_hand}", "--results", tmp_path / "r",
        env={"HF_HUB_CACHE": str(tmp_path / "hub")},
    )  # fmt: skip
    assert done.code == 0, done.out + done.err
    record = json.loads((tmp_path / "r" / "latest" / "run.json").read_text(encoding="utf-8"))
    assert {name: one["checkpoint"] for name, one in record["envs"].items()} == {
        "fetched": {
            "path": str(snapshot),
            "proof": "unverified",
            "commit": "ab" * 20,
            "verified_at": None,
        },
        "given": {"path": str(by_hand), "proof": "given", "commit": None, "verified_at": None},
        "none": None,
    }


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


def test_help_is_there_for_every_command(in_process):
    def try_all(words, command):
        done = in_process(*words, "-h")
        assert done.code == 0, words
        assert "Usage:" in done.out
        if isinstance(command, click.Group):
            for name in command.list_commands(click.Context(command)):
                try_all([*words, name], command.get_command(click.Context(command), name))

    try_all([], cli.cli)


def test_help_imports_nothing_heavy(environment):
    code = "import sys, orchestrator.cli; print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    for heavy in ("numpy", "psutil", "pydantic", "rich", "jiwer", "soundfile"):
        assert f"'{heavy}'" not in done.stdout


def test_a_path_is_written_for_programs_that_read_results(quiet_run):
    done, _ = quiet_run
    last = done.out.strip().splitlines()[-1]
    assert Path(last.split(maxsplit=1)[1]).is_file()
