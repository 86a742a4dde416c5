"""Packages that others ask for and a stack leaves out, for one accelerator or for each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import ROOT, STACKS, stack_toml
from package_index import Server, wheel

from orchestrator.environments.everywhere import PLATFORMS
from orchestrator.environments.lock import lock_file, pins
from orchestrator.stacks import read_stack

LEFT_OUT = '[tool.asrbench.without]\ncpu = ["engine"]\n'
CONTRADICTION = '[tool.uv]\noverride-dependencies = ["helper==1"]\n'


@pytest.fixture
def index():
    """A tool that asks for an engine, and for a helper in its second version."""
    server = Server()
    made = server.index("main")
    made.add(
        wheel("tool", "1", requires=["engine>=3", "helper>=2"], modules={"tool.py": ""}),
        wheel("engine", "3", modules={"engine.py": ""}),
        wheel("helper", "1", modules={"helper.py": ""}),
        wheel("helper", "2", modules={"helper.py": ""}),
    )
    yield made
    server.close()


@pytest.fixture
def build(asrbench, index, tmp_path):
    """Write a stack on that tool with further tables, and build its env."""

    def build(tables):
        folder = tmp_path / "tooled"
        folder.mkdir()
        text = stack_toml("tooled", dependencies=["msgpack", "numpy", "tool"]) + tables
        (folder / "pyproject.toml").write_text(text, encoding="utf-8")
        shutil.copy(STACKS / "puppet" / "worker.py", folder)
        done = asrbench("env", "build", "tooled", "--stacks", folder, env={"UV_INDEX": index.url})
        return done, folder

    return build


def test_what_a_stack_leaves_out_is_in_neither_its_lock_nor_its_env(build):
    done, folder = build(LEFT_OUT)
    assert done.code == 0, done.err
    locked = pins((folder / "requirements-cpu.lock").read_text(encoding="utf-8"))
    assert set(locked) == {"msgpack", "numpy", "tool", "helper"}
    env = Path(done.out.splitlines()[-1])
    assert not list(env.rglob("engine.py"))
    assert list(env.rglob("helper.py"))


def test_without_such_a_table_all_that_is_asked_for_is_there(build):
    done, folder = build("")
    assert done.code == 0, done.err
    assert "engine" in pins((folder / "requirements.lock").read_text(encoding="utf-8"))
    assert list(Path(done.out.splitlines()[-1]).rglob("engine.py"))


def test_a_package_of_a_wrong_version_is_an_error_beside_one_that_was_left_out(build):
    done, _ = build(LEFT_OUT + CONTRADICTION)
    assert done.code == 3
    assert "contradict each other" in done.err
    assert "`tool` requires `helper>=2`" in done.err


def test_a_lock_does_not_match_once_something_else_is_left_out(build, asrbench):
    done, folder = build(LEFT_OUT)
    assert done.code == 0, done.err
    file = folder / "pyproject.toml"
    file.write_text(file.read_text(encoding="utf-8").replace('"engine"', '"other"'), "utf-8")
    again = asrbench("env", "build", "tooled", "--stacks", folder)
    assert again.code == 2
    assert "does not match" in again.err


def test_leaving_out_for_an_accelerator_that_the_stack_has_not_is_an_error(build):
    done, _ = build(LEFT_OUT.replace("cpu", "cuda"))
    assert done.code == 2
    assert "without names cuda, not an accelerator here" in done.err


def test_no_lock_of_moonshine_has_two_packages_with_the_module_onnxruntime():
    stack = read_stack(ROOT / "envs" / "moonshine")
    for accelerator, name in (("cpu", "onnxruntime"), ("directml", "onnxruntime-directml")):
        assert any(accelerator in one.accelerators for one in PLATFORMS.values())
        locked = pins(lock_file(stack, accelerator).read_text(encoding="utf-8"))
        assert [one for one in locked if one.startswith("onnxruntime")] == [name]
