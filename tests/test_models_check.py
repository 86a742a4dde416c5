"""Whether one model works here: each step told, and where one fails, what to do next."""

from __future__ import annotations

import datetime
import hashlib
import json
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from conftest import STACKS, stack_toml
from gpu_trees import STRIX_HALO, STRIX_HALO_IS_THERE

from orchestrator.checkpoint_record import CheckpointRecord, FileRecord, forget, remember
from orchestrator.checkpoints import warm_cache
from orchestrator.cli.check_lines import line
from orchestrator.platforms.gpus.display_class import gpus_of
from orchestrator.run.check_steps import MemoryFound
from schemas.records import DeviceMemory, MemoryPeak

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX way to die")
STEPS = ["env", "checkpoint", "load", "speech", "device", "memory"]
COMMIT = "c" * 40
WORKER = """
import os, time
def load(checkpoint, device, fate=""):
    if fate == "no-memory":
        raise MemoryError("cannot hold the weights")
    if fate == "no-library":
        import a_library_that_is_not_there
    if fate == "no-gpu" and device != "cpu":
        raise RuntimeError("hipErrorNoBinaryForGpu: no kernel image")
    return device, fate
def describe(model):
    return {"device": model[0], "precision": "bfloat16", "attention": "eager", "threads": 2}
def transcribe(model, audio):
    if model[1] == "hangs":
        time.sleep(600)
    if model[1] == "dies":
        os.abort()
    if model[1] == "raises":
        raise ValueError("an operator has a bug")
    return f"\\x1b[2Jheard {len(audio)} samples"
"""
FATES = ("fine", "no-memory", "no-library", "no-gpu", "hangs", "dies", "raises")


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A stack of one's own, in a path with a space."""
    folder = tmp_path_factory.mktemp("my stacks") / "fates"
    folder.mkdir()
    text = stack_toml("fates", ["needs-file"], python=">=3.10,<3.15", accelerators=("rocm", "cpu"))
    text += f'checkpoint = "owner/repo"\nrevision = "{COMMIT}"\nlanguages = ["de"]\n'
    for fate in FATES:
        text += f'[tool.asrbench.models.{fate}]\noptions = {{ fate = "{fate}" }}\n'
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    (folder / "worker.py").write_text(WORKER, encoding="utf-8")
    shutil.copy(STACKS / "puppet" / "requirements.lock", folder)
    return folder


@pytest.fixture
def check(in_process, stack):
    """Check a model of that stack: what the command did, and its lines by step."""

    def go(model, *words, **how):
        done = in_process("models", "check", model, "--stacks", stack, *words, **how)
        assert "Traceback" not in done.out + done.err
        assert "\x1b" not in done.out
        return done, _by_step(done.out)

    return go


def _by_step(out):
    """Lines without a label belong to the step above them."""
    steps, name = {}, None
    for text in out.splitlines():
        name = text[:11].strip() or name
        steps[name] = steps.get(name, "") + text[11:].strip() + "\n"
    return steps


def test_a_model_that_works_is_told_step_by_step(asrbench):
    done = asrbench("models", "check", "pocketsphinx")
    assert done.code == 0, done.out + done.err
    steps = _by_step(done.out)
    assert [name for name in steps if name in STEPS] == STEPS
    assert all(steps[name].startswith("ok: ") for name in STEPS)
    assert "ok: cpu, Python 3." in steps["env"]
    assert "none needed" in steps["checkpoint"]
    assert "interpreter 0." in steps["load"]
    assert "3.0 s of speech in" in steps["speech"]
    assert "text: put the onions in the pan" in steps["speech"]
    assert "said: Put the onions in the pan first, then" in steps["speech"]
    assert steps["device"] == "ok: cpu, precision int16\n"
    assert "until it was loaded" in steps["memory"]
    assert done.out.endswith("pocketsphinx works here\n")

    again = asrbench("models", "check", "pocketsphinx", "--json")
    assert again.code == 0
    told = again.json()
    assert (told["ok"], told["model"], told["stack"]) == (True, "pocketsphinx", "pocketsphinx")
    assert list(told["steps"]) == STEPS
    found = {name: step["found"] for name, step in told["steps"].items()}
    assert {step["state"] for step in told["steps"].values()} == {"ok"}
    assert found["env"]["folder"] in steps["env"]
    assert found["env"]["built_now"] is False
    assert f"text: {found['speech']['text']}\n" in steps["speech"]
    assert found["speech"]["audio_s"] == 3.0
    speed = found["speech"]["audio_s"] / found["speech"]["time_s"]
    assert found["speech"]["rtfx"] == pytest.approx(speed)
    times = found["load"]
    parts = ("spawn_s", "interpreter_s", "imports_s", "weights_s")
    assert times["total_s"] == pytest.approx(sum(times[part] for part in parts))
    assert found["memory"]["peak"]["peak_bytes"] >= found["memory"]["load"]["peak_bytes"] > 1e7
    assert found["memory"]["peak"]["method"] in steps["memory"]


def test_the_speech_is_three_seconds_and_its_text_cannot_steer_a_terminal(check, in_process, stack):
    in_process("env", "remove", "fates", "--stacks", stack)
    done, steps = check("fine")
    assert done.code == 0, done.out
    assert "built now in " in steps["env"]
    assert "heard 48000 samples" in steps["speech"]
    assert steps["device"] == "ok: cpu, precision bfloat16, attention eager, threads 2\n"
    assert "not rocm: no GPU here offers rocm" in steps["env"]


@pytest.fixture
def puppet(in_process, puppet_env):
    """Check a model of the puppet's."""

    def go(model, *words):
        return in_process("models", "check", model, "--stacks", STACKS, *words)

    return go


def test_a_text_that_is_empty_is_remarked_and_no_failure(puppet):
    done = puppet("puppet")
    assert done.code == 0, done.out
    assert "note: no text, although there is speech" in done.out


@pytest.mark.parametrize(
    ("model", "words", "what", "following"),
    [
        pytest.param(
            "puppet-shy",
            [],
            "worker killed by SIGSEGV",
            "worker.py; or is its env broken? asrbench env rebuild puppet --stacks ",
            marks=POSIX,
        ),
        ("puppet-raises", [], "ValueError: the puppet was told to raise", "next: look at "),
        (
            "puppet-sleeps",
            ["--load-timeout", "1.5"],
            "worker gave no answer in time",
            "next: give it longer, if it is only slow: asrbench models check puppet-sleeps "
            "--load-timeout 6 --stacks ",
        ),
        (
            "puppet-raises",
            ["--load-timeout", "0.01"],  # before its hello
            "worker gave no answer in time",
            "; or is its env broken? asrbench env rebuild puppet --stacks ",
        ),
    ],
)
def test_a_load_that_fails_says_why_and_what_is_not_tried(puppet, model, words, what, following):
    done = puppet(model, *words)
    assert done.code == 3
    steps = _by_step(done.out)
    assert steps["load"].startswith(f"failed: {what}")
    assert following in steps["load"]
    assert steps["speech"] == steps["device"] == "not tried\n"
    assert steps["memory"].startswith("ok: ")  # what it took until then
    assert done.out.endswith(f"{model} does not work here\n")


@POSIX
def test_what_a_worker_printed_is_named_where_it_failed(puppet):
    log = Path(_by_step(puppet("puppet-shy").out)["log"].strip())
    assert "in _segfault" in log.read_text(encoding="utf-8")
    assert "log" not in _by_step(puppet("puppet-raises").out)  # it printed nothing


def test_what_failed_is_told_to_programs_as_well(puppet):
    done = puppet("puppet-raises", "--json")
    assert done.code == 3
    told = json.loads(done.out)
    states = {name: step["state"] for name, step in told["steps"].items()}
    assert told["ok"] is False
    assert [states[name] for name in STEPS] == ["ok", "ok", "failed", *["not tried"] * 2, "ok"]
    trouble = told["steps"]["load"]["trouble"]
    assert trouble["outcome"] == "failed"
    assert trouble["what"] == "ValueError: the puppet was told to raise"


def test_too_little_memory_is_told_with_figures(check):
    done, steps = check("no-memory")
    assert done.code == 3
    assert "MemoryError: cannot hold the weights; it took up to " in steps["load"]
    assert " MB, this machine has " in steps["load"]
    assert "next: close other programs" in steps["load"]


def test_a_library_that_is_missing_means_the_env(check, stack):
    done, steps = check("no-library")
    assert done.code == 3
    assert "failed: ModuleNotFoundError: " in steps["load"]
    assert "next: is its env broken? asrbench env rebuild fates --stacks " in steps["load"]


@pytest.mark.parametrize(
    ("model", "what", "following"),
    [
        pytest.param("dies", "killed by SIGABRT", "next: look at ", marks=POSIX),
        ("raises", "ValueError: an operator has a bug", "next: look at "),
        ("hangs", "gave no answer in time", "next: give it longer"),
    ],
)
def test_a_model_that_loads_and_fails_on_speech_shows_its_device(
    check, monkeypatch, model, what, following
):
    monkeypatch.setattr("orchestrator.run.options.TIMEOUT_PER_AUDIO", 0.1)
    done, steps = check(model, "--timeout", "1")
    assert done.code == 3
    assert steps["load"].startswith("ok: ")
    assert what in steps["speech"]
    assert following in steps["speech"]
    assert steps["device"].startswith("ok: cpu, ")
    assert steps["memory"].startswith("ok: ")


def test_the_best_accelerator_is_tried_and_its_failure_names_the_next(check, monkeypatch):
    laptop = gpus_of([STRIX_HALO], [STRIX_HALO_IS_THERE], ["amdhip64_7.dll"])
    monkeypatch.setattr("orchestrator.environments.choice.find_gpus", lambda: laptop)
    done, steps = check("no-gpu")
    assert done.code == 3
    assert steps["env"].startswith("ok: rocm")
    assert "failed: RuntimeError: hipErrorNoBinaryForGpu" in steps["load"]
    assert "asrbench models check no-gpu --accelerator cpu --stacks " in steps["load"]
    done, steps = check("no-gpu", "--accelerator", "cpu")
    assert done.code == 0, done.out
    assert steps["device"].startswith("ok: cpu, ")


def test_an_accelerator_that_is_not_there_is_told(check):
    done, steps = check("fine", "--accelerator", "rocm")
    assert done.code == 3
    assert "cannot run here: rocm: no GPU here offers rocm" in steps["env"]
    assert "asrbench doctor" in steps["env"]
    assert steps["checkpoint"].startswith("ok: ")
    assert steps["load"] == steps["memory"] == "not tried\n"


def test_a_checkpoint_is_missing_found_verified_or_given(check, environment, monkeypatch, tmp_path):
    cache = {"HF_HUB_CACHE": str(tmp_path / "hub cäche")}
    done, steps = check("needs-file", env=cache)
    assert done.code == 3
    assert "failed: its checkpoint is not on this machine" in steps["checkpoint"]
    assert "next: get it: asrbench models download needs-file --stacks " in steps["checkpoint"]
    assert [steps[name] for name in STEPS[2:]] == ["not tried\n"] * 4

    weights = tmp_path / "hub cäche" / "models--owner--repo" / "snapshots" / COMMIT / "weights"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    done, steps = check("needs-file", env=cache)
    assert done.code == 0, done.out
    assert steps["checkpoint"] == f"ok: not verified here: {weights.parent}\n"
    assert "note: the model knows de, this is en" in steps["speech"]

    monkeypatch.setenv("ASRBENCH_HOME", environment["ASRBENCH_HOME"])
    file = FileRecord(name="weights", size_bytes=7, sha256=hashlib.sha256(b"weights").hexdigest())
    at = datetime.datetime(2026, 1, 31, 12, 0, tzinfo=datetime.UTC)
    record = CheckpointRecord(
        repository="owner/repo", revision=COMMIT, commit=COMMIT, verified_at=at, files=(file,)
    )
    remember(record)
    try:
        done, steps = check("needs-file", env=cache)
    finally:
        forget(record)
    assert steps["checkpoint"] == f"ok: verified 2026-01-31 12:00 UTC: {weights.parent}\n"

    for given in (weights, f"needs-file={weights}"):  # as orchestrate takes it
        done, steps = check("needs-file", "--checkpoint", given)
        assert done.code == 0, done.out
        assert steps["checkpoint"] == f"ok: given by hand: {weights}\n"


def test_an_option_that_the_worker_does_not_take_is_blamed_and_nothing_else(check, stack):
    file = stack / "pyproject.toml"
    before = file.read_text(encoding="utf-8")
    assert check("fine")[0].code == 0  # its env is there, and was proved with the options of then
    file.write_text(before.replace('fate = "fine"', 'fete = "fine"'), encoding="utf-8")
    try:
        done, steps = check("fine")
    finally:
        file.write_text(before, encoding="utf-8")
    assert done.code == 3
    assert "unexpected keyword argument 'fete'" in steps["load"]
    (following,) = [line for line in steps["load"].splitlines() if line.startswith("next: ")]
    assert following.startswith(f"next: are its options in {file} right? ")
    assert "asrbench models show fine --stacks" in following


def test_a_wrong_option_that_keeps_an_env_from_being_proved_is_blamed_too(in_process, tmp_path):
    folder = tmp_path / "mistyped"
    folder.mkdir()
    text = stack_toml("mistyped") + 'options = { fete = "fine" }\n'
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    (folder / "worker.py").write_text(WORKER, encoding="utf-8")
    shutil.copy(STACKS / "puppet" / "requirements.lock", folder)
    done = in_process("models", "check", "mistyped", "--stacks", folder)
    assert done.code == 3
    steps = _by_step(done.out)
    assert "unexpected keyword argument 'fete'" in steps["env"]
    assert f"next: are its options in {folder / 'pyproject.toml'} right? " in steps["env"]


def test_an_env_that_cannot_be_built_is_told_and_the_checkpoint_still_looked_for(
    in_process, tmp_path
):
    folder = tmp_path / "unbuildable"
    folder.mkdir()
    text = stack_toml("unbuildable", dependencies=["msgpack", "numpy", "a-wheel-of-nobody==7"])
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    (folder / "worker.py").write_text(WORKER, encoding="utf-8")
    done = in_process("models", "check", "unbuildable", "--stacks", folder, "--offline")
    assert done.code == 3
    steps = _by_step(done.out)
    assert "failed: stack 'unbuildable' cannot be locked" in steps["env"]
    assert "likely cause: " in steps["env"]
    assert "next: mend that, then: asrbench env rebuild unbuildable --stacks" in steps["env"]
    assert steps["checkpoint"].startswith("ok: none needed")
    assert [steps[name] for name in STEPS[2:]] == ["not tried\n"] * 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pocketsphynx"], "did you mean 'pocketsphinx'?"),
        (["all"], "one model is checked at a time"),
        (["pocketsphinx", "--checkpoint", "no/such/file"], "there is no such file"),
        (["pocketsphinx", "--checkpoint", ""], "--checkpoint names no path"),
        (["pocketsphinx", "--timeout", "nan"], "--timeout"),
        (["pocketsphinx", "--stacks", "no/such/folder"], "there is no such folder"),
    ],
)
def test_what_cannot_be_meant_ends_with_2_before_anything_is_built(in_process, words, said):
    done = in_process("models", "check", *words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_a_broken_env_is_mended_by_the_command_that_is_told(check, in_process):
    done, steps = check("fine", "--json")
    env = Path(json.loads(done.out)["steps"]["env"]["found"]["folder"])
    (package,) = {file.parent for file in env.rglob("msgpack/__init__.py")}
    shutil.rmtree(package)
    done, steps = check("fine")
    assert done.code == 3
    advice = steps["load"].partition("next: is its env broken? ")[2]
    program, *words = shlex.split(advice)
    assert program == "asrbench"
    assert in_process(*words).code == 0
    done, steps = check("fine")
    assert done.code == 0, done.out


def test_memory_of_a_device_is_told_beside_that_of_the_worker():
    peak = MemoryPeak(peak_bytes=3_200_000_000, method="pss-sum", bound="lower")
    held = DeviceMemory(device="0000:c5:00.0", peak_bytes=5_100_000_000, method="drm-fdinfo")
    told = line(MemoryFound(peak, None, (held,)))
    assert told == "ok: at least 3.2 GB (pss-sum); 5.1 GB of 0000:c5:00.0 (drm-fdinfo)"
    assert line(MemoryFound(None, None)) == "ok: nothing on this system counts it"


def test_a_file_without_an_end_is_read_no_further_than_its_size(monkeypatch, tmp_path):
    """As some of the kernel's are, which call themselves regular and empty."""

    class Endless:
        reads = 0

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def readinto(self, buffer):
            self.reads += 1
            assert self.reads < 5
            return len(buffer)

    (tmp_path / "weights").write_bytes(b"abc")
    (tmp_path / "kmsg").touch()
    monkeypatch.setattr(Path, "open", lambda self, *how, **more: Endless())
    warm_cache(tmp_path)
