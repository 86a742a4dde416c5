"""The next accelerator has its turn when a load fails or a device dies; the row says what ran."""

from __future__ import annotations

import json
import shutil

import pytest
from conftest import STACKS
from gpu_trees import STRIX_HALO, STRIX_HALO_IS_THERE

from orchestrator.environments.build import ensure_env
from orchestrator.errors import EnvError
from orchestrator.platforms.gpus.display_class import gpus_of
from orchestrator.run.chain import _rows_of_one_device
from orchestrator.run.device_loss import lost_device

STACK = """
[project]
name = "falls"
version = "0"
requires-python = ">=3.10,<3.15"
dependencies = ["msgpack", "numpy"]
[project.optional-dependencies]
rocm = []
[tool.asrbench]
worker = "worker.py"
accelerators = ["cuda", "rocm", "vulkan", "cpu"]
[tool.asrbench.models.falls]
"""
# what happens on the GPU is in the file "fate", as at the next start it may be something else
WORKER = """
import os, pathlib
FATE = pathlib.Path(__file__).with_name("fate")
def load(checkpoint, device):
    fate = dict(line.split("=") for line in FATE.read_text().split())
    how = fate.get(device, "")
    if how == "no-load":
        raise RuntimeError("hipErrorNoBinaryForGpu: no kernel image")
    if how == "dead-load":
        os.abort()
    return {"device": device, "how": how, "n": 0}
def describe(model):
    return {"device": "cpu" if model["how"] == "lies" else model["device"]}
def transcribe(model, audio):
    model["n"] += 1
    limit = int(model["how"].partition(":")[2] or 99)
    if model["how"].startswith("lost") and model["n"] > limit:
        (FATE.parent / "dead").write_text("")
        raise RuntimeError("HIP error: unspecified launch failure")
    if model["how"].startswith("lost") and (FATE.parent / "dead").exists():
        raise RuntimeError("HIP error: unspecified launch failure")
    if model["how"] == "segfault" and len(audio) > 3000:
        os.abort()
    if model["how"].startswith("wrong"):
        raise ValueError("an operator has a bug")
    if model["how"] == "dead":
        return "what a process says that has lost its device"
    return f"hello world {model['device']}"
def transcribe_batch(model, audios):
    if model["how"] == "batch-lost":
        model["how"] = "dead"
        raise RuntimeError("HIP error: unspecified launch failure")
    return [transcribe(model, audio) for audio in audios]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stacks") / "falls"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(STACK, encoding="utf-8")
    (folder / "worker.py").write_text(WORKER, encoding="utf-8")
    for name in ("requirements.lock", "requirements-rocm.lock"):  # of the same packages
        shutil.copy(STACKS / "puppet" / "requirements.lock", folder / name)
    return folder


@pytest.fixture
def run(in_process, folder, clips, tmp_path, monkeypatch):
    """Orchestrate on a Strix Halo whose GPU has this fate; returns the code, rows and journal."""
    laptop = gpus_of([STRIX_HALO], [STRIX_HALO_IS_THERE], ["amdhip64_7.dll", "vulkan-1.dll"])
    monkeypatch.setattr("orchestrator.environments.choice.find_gpus", lambda: laptop)
    heard = clips("say", "say", "say", "say", seconds=0.1)
    long = clips("say", folder="long", seconds=0.3)
    shutil.copy(long / "00-say.wav", heard / "03-say.wav")

    def go(fate, *words, only=None):
        (folder / "fate").write_text(fate, encoding="utf-8")
        for clip in heard.glob("*"):
            if only and not clip.name.startswith(only):
                clip.unlink()
        (folder / "dead").unlink(missing_ok=True)
        done = in_process(
            "orchestrate", "--models", "falls", "--stacks", folder, "--snippets", heard,
            "--results", tmp_path / "r", "--json", *words,
        )  # fmt: skip
        assert "Traceback" not in done.err, done.err
        journal = tmp_path / "r" / "latest" / "journal.jsonl"
        lines = [json.loads(line) for line in journal.read_text("utf-8").splitlines()]
        return done, done.json()["rows"], lines

    return go


def _loads(lines):
    return [line["accelerator"] for line in lines if line["kind"] == "model_started"]


@pytest.mark.parametrize(
    ("fate", "said"),
    [
        ("rocm=no-load", "rocm: load: RuntimeError: hipErrorNoBinaryForGpu"),
        ("rocm=dead-load", "rocm: load: given up after 3 crashes in a row"),
        ("rocm=lies", "rocm: load: the model was loaded on cpu, not on rocm"),
    ],
)
def test_the_next_one_loads_where_one_does_not(run, fate, said):
    done, rows, lines = run(fate)
    assert done.code == 0, done.err
    assert _loads(lines) == ["rocm", "vulkan"]
    assert {row["device"] for row in rows} == {"vulkan"}
    assert {row["transcript"] for row in rows} == {"hello world vulkan"}
    for row in rows:
        none, why = row["fell_back"]
        assert none == "cuda: no GPU here offers cuda"
        assert why.startswith(said)
    assert "goes on with vulkan" in done.err
    assert "device:vulkan" in done.json()["signature"]


def test_what_was_answered_before_the_device_died_holds(run):
    done, rows, lines = run("rocm=lost:3 vulkan=no-load", "--max-crashes", "2", "--retries", "0")
    assert done.code == 0, done.err
    assert _loads(lines) == ["rocm", "vulkan", "cpu"]
    # the warm-up and two snippets were answered
    assert [row["device"] for row in rows] == ["rocm", "rocm", "cpu", "cpu"]
    assert [row["transcript"][12:] for row in rows] == ["rocm", "rocm", "cpu", "cpu"]
    assert [len(row["fell_back"]) for row in rows] == [1, 1, 3, 3]
    assert "unspecified launch failure" in rows[2]["fell_back"][1]
    (summary,) = done.json()["summary"]
    assert summary["device"] == "rocm+cpu"
    assert summary["crashes"] == 2
    assert "device:cpu+rocm" in done.json()["signature"]


def test_a_batch_that_loses_the_device_is_the_last_of_its_process(run):
    done, rows, lines = run("rocm=batch-lost", "--batch", "2")
    assert done.code == 0, done.err
    assert {row["transcript"] for row in rows} == {"hello world rocm"}
    assert "2 at once: failed: RuntimeError: HIP error" in done.err
    ended = [line for line in lines if line["kind"] == "worker_ended"]
    assert [(one["outcome"], one["phase"]) for one in ended] == [("failed", "transcribe")] * 2


def test_rows_hold_under_the_key_that_was_used_and_not_the_one_expected(run, monkeypatch):
    """Of a stack without a lock, or one that gets another Python, the key is not known before."""
    monkeypatch.setattr("orchestrator.run.jobs.likely_minor", lambda *_: 99)
    words = ["--max-crashes", "2", "--retries", "0"]
    done, rows, _ = run("rocm=lost:3 vulkan=no-load", *words)
    assert done.code == 0, done.err
    assert [row["device"] for row in rows] == ["rocm", "rocm", "cpu", "cpu"]


def test_a_row_that_two_devices_answered_in_part_is_made_again():
    every = {(snippet, "", repeat) for snippet in "abc" for repeat in (1, 2)}
    a1, a2, b1, b2, c1 = (("a", "", 1), ("a", "", 2), ("b", "", 1), ("b", "", 2), ("c", "", 1))
    done = {a1: "rocm", a2: "rocm", b1: "vulkan", b2: "rocm", c1: "vulkan"}
    assert _rows_of_one_device(every, done, "cpu") == {a1: "rocm", a2: "rocm"}
    assert _rows_of_one_device(every, done, "rocm") == {a1: "rocm", a2: "rocm", b2: "rocm"}
    assert _rows_of_one_device(every, done, "vulkan").keys() == {a1, a2, b1, c1}


def _answers(lines):
    return sum(
        line["kind"] == "attempt" and line["outcome"] == "ok" and not line["warm_up"]
        for line in lines
    )


def test_a_resumed_run_makes_nothing_again_that_any_device_answered(run, monkeypatch):
    run("rocm=lost:3 vulkan=no-load", "--max-crashes", "2", "--retries", "0")
    for fate in ("rocm= vulkan=", "rocm=no-load"):
        done, rows, lines = run(fate, "--resume", "latest")
        assert done.code == 0, done.err
        assert [row["device"] for row in rows] == ["rocm", "rocm", "cpu", "cpu"]
        assert [len(row["fell_back"]) for row in rows] == [1, 1, 3, 3]
        assert _answers(lines) == 4
        (summary,) = done.json()["summary"]
        assert (summary["crashes"], summary["device"]) == (2, "rocm+cpu")

    def no_rocm(stack, way, say):
        if way.accelerator == "rocm":
            raise EnvError("its index is gone")
        return ensure_env(stack, way, say)

    monkeypatch.setattr("orchestrator.run.preparation.ensure_env", no_rocm)
    done, rows, lines = run("", "--resume", "latest")
    assert [row["device"] for row in rows] == ["rocm", "rocm", "cpu", "cpu"]
    assert _answers(lines) == 4


def test_a_complete_run_stays_so_when_a_better_device_is_back(run):
    run("rocm=no-load")
    done, rows, lines = run("", "--resume", "latest")
    assert done.code == 0, done.err
    assert {row["device"] for row in rows} == {"vulkan"}
    assert _answers(lines) == 4
    assert all(len(row["fell_back"]) == 2 for row in rows)  # as it was when they ran


def test_a_snippet_that_no_device_survives_keeps_its_row_over_a_resume(run):
    fate = "rocm=lost:3 vulkan=no-load cpu=segfault"
    done, rows, _ = run(fate, "--max-crashes", "2", "--retries", "0")
    assert [row["outcome"] for row in rows] == ["ok", "ok", "ok", "crashed"]
    assert done.json()["summary"][0]["crashes"] == 3
    again, rows, lines = run("cpu=segfault", "--resume", "latest")
    assert [row["outcome"] for row in rows] == ["ok", "ok", "ok", "crashed"]
    assert again.json()["summary"] == done.json()["summary"]
    assert _answers(lines) == 3


def test_what_an_older_lock_answered_does_not_come_back(run, folder):
    run("rocm=lost:3 vulkan=no-load", "--max-crashes", "2", "--retries", "0")
    lock = folder / "requirements-rocm.lock"
    before = lock.read_text(encoding="utf-8")
    lock.write_text(before + "# newer\n", encoding="utf-8")
    try:
        done, rows, _ = run("rocm=no-load vulkan=no-load", "--resume", "latest")
    finally:
        lock.write_text(before, encoding="utf-8")
    assert done.code == 0, done.err
    assert [row["device"] for row in rows] == ["cpu"] * 4


def test_a_row_and_a_speed_are_of_one_device(run):
    """It dies in the second repeat: what it had answered in the first is made again elsewhere."""
    words = ["--repeat", "2", "--max-crashes", "2", "--retries", "0"]
    done, rows, lines = run("rocm=lost:7", *words)
    assert done.code == 0, done.err
    assert [row["device"] for row in rows] == ["rocm", "rocm", "vulkan", "vulkan"]
    last = {}
    for line in lines:
        if line["kind"] == "attempt" and line["outcome"] == "ok" and not line["warm_up"]:
            last[line["snippet"], line["repeat"]] = line["device"]
    assert all(last[name, 1] == last[name, 2] for name, _ in last)


def test_a_run_of_one_clip_falls_back_as_well(run):
    done, (row,), _ = run("rocm=lost:0", "--no-warm-up", only="03")
    assert done.code == 0, done.err
    assert row["device"] == "vulkan"
    assert "unspecified launch failure" in row["fell_back"][1]
    assert done.json()["summary"][0]["crashes"] == 2


def test_a_replay_is_on_the_device_of_the_row_or_the_one_that_is_asked_for(
    run, in_process, tmp_path
):
    run("rocm=no-load")
    words = ["replay", "latest", "falls", "00-say", "--results", tmp_path / "r", "--json"]
    same = in_process(*words)
    assert (same.code, same.json()["ends"][0]["device"]) == (0, "vulkan")
    failed = in_process(*words, "--accelerator", "rocm")
    assert failed.code == 1
    assert "hipErrorNoBinaryForGpu" in failed.json()["ends"][0]["error"]


def test_an_error_of_the_code_is_no_reason_to_leave_a_device(run):
    done, rows, lines = run("rocm=wrong", "--no-warm-up")
    assert done.code == 3  # not one row is ok
    assert _loads(lines) == ["rocm"]
    assert {(row["outcome"], row["device"]) for row in rows} == {("failed", "rocm")}


def test_the_last_error_tells_of_all_before_it(run):
    done, rows, _ = run("rocm=no-load vulkan=dead-load cpu=no-load")
    assert done.code == 3
    for row in rows:
        assert "not tried: RuntimeError: hipErrorNoBinaryForGpu" in row["error"]
        assert "before it: rocm: load: RuntimeError" in row["error"]
        assert "vulkan: load: given up after 3 crashes" in row["error"]


def test_one_that_is_asked_for_is_the_only_one(run):
    done, rows, lines = run("rocm=no-load", "--accelerator", "rocm")
    assert (done.code, _loads(lines)) == (3, ["rocm"])
    done, rows, _ = run("", "--accelerator", "cuda")
    assert done.code == 3
    assert {row["phase"] for row in rows} == {"env"}
    assert "cuda: no GPU here offers cuda" in rows[0]["error"]
    done, rows, _ = run("", "--accelerator", "directml")
    assert "has no build for directml; it has builds for: cuda, rocm" in rows[0]["error"]


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("RuntimeError: CUDA error: an illegal memory access was encountered", True),
        ("HIP error: hipErrorLaunchFailure", True),
        ("[ONNXRuntimeError] : 887A0006 The GPU will not respond to more commands", True),
        ("vk::DeviceLostError: vk::Queue::submit: ErrorDeviceLost", True),
        ("torch.AcceleratorError: CUDA error: unknown error", True),
        ("RuntimeError: No HIP GPUs are available", True),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", False),
        ("ValueError: the model expects 16 kHz", False),
    ],
)
def test_which_errors_mean_that_a_device_is_lost(text, lost):
    assert lost_device(text) is lost
