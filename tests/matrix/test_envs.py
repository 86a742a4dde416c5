"""Env builds that fail, are interrupted or raced: an env is whole or absent, the run goes on."""

from __future__ import annotations

import shutil
import signal
import sys
import time

import pytest
from conftest import STACKS, stack_toml

from matrix import stacks
from matrix.batches import GOOD
from matrix.runs import end_of, orchestrate, start
from matrix.titles import title

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="written for Linux")

OPTIONS = ["--no-warm-up", "--retries", "0", "--models"]


@pytest.fixture
def fresh(tmp_path):
    """fresh(name) → a stack that works and whose env was never built, and a recording."""

    def make(name):
        stack = tmp_path / "stäcks" / name
        shutil.copytree(stacks.SABOTEUR, stack)
        (stack / "pyproject.toml").write_text(stack_toml(name), encoding="utf-8")
        shutil.copy(STACKS / "puppet" / "requirements.lock", stack)
        clips = stacks.write_clips(tmp_path / "clips", [("transcribe", "none")])
        return ["--stacks", stack, "--snippets", clips]

    return make


def builds(home, name):
    return sorted((home / "envs").glob(f".new-{name}-*"))


def wait_for_a_build(home, name):
    limit = time.monotonic() + 60
    while not builds(home, name):
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_a_build_that_fails_costs_its_own_model(
    environment, home, saboteur, fresh, tmp_path, record_property
):
    given = fresh("unbuildable")
    lock = tmp_path / "stäcks" / "unbuildable" / "requirements.lock"
    text = lock.read_text(encoding="utf-8")
    lock.write_text(text.replace("--hash=sha256:", "--hash=sha256:00")[:-2], encoding="utf-8")
    run = orchestrate(
        environment, tmp_path / "run", "", *OPTIONS, f"unbuildable,{GOOD}", *given,
        "--stacks", saboteur,
    )  # fmt: skip
    assert run.code == 1, run.out + run.err
    row = run.rows["unbuildable", "000"]
    assert (row["Outcome"], row["Phase"]) == ("failed", "env")
    assert "cannot be built" in row["Error"]
    assert run.rows[GOOD, "000"]["Outcome"] == "ok"
    assert run.left() == {}
    assert builds(home, "unbuildable") == []
    record_property("cell", (title("unbuildable"), "env", "failed"))


@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_a_build_that_is_interrupted_is_begun_again(
    environment, home, fresh, tmp_path, record_property, name
):
    stack = f"interrupted-{name.lower()}"
    given = fresh(stack)
    first = start(environment, tmp_path / "run", "", *OPTIONS, stack, *given)
    wait_for_a_build(home, stack)
    first.send_signal(getattr(signal, name))
    ended = end_of(first, tmp_path / "run")
    assert "Traceback" not in ended.err
    if name == "SIGINT":
        assert ended.code == 130
        assert ended.left() == {}
        assert builds(home, stack) == []
    assert list((home / "envs").glob(f"{stack}-*")) == []
    again = orchestrate(environment, tmp_path / "run", "", "--resume", "latest")
    assert again.code == 0, again.out + again.err
    assert again.left() == {}
    assert builds(home, stack) == []
    record_property("cell", (title("interrupted"), "env", "resumed"))


def test_a_build_that_two_controllers_want_is_made_once(
    environment, home, fresh, tmp_path, record_property
):
    given = fresh("raced")
    folders = [tmp_path / "one", tmp_path / "two"]
    racers = [start(environment, folder, "", *OPTIONS, "raced", *given) for folder in folders]
    runs = [end_of(racer, folder) for racer, folder in zip(racers, folders, strict=True)]
    assert [run.code for run in runs] == [0, 0], runs
    assert [run.left() for run in runs] == [{}, {}]
    assert sum("building its env" in run.out for run in runs) == 1
    assert len(list((home / "envs").glob("raced-*"))) == 1
    record_property("cell", (title("raced"), "env", "built once"))
