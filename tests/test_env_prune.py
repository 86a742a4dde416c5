"""What envs take on the disk, and how those go that nobody needs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from conftest import STACKS

from orchestrator.environments.inventory import size_of

LOCK = STACKS / "puppet" / "requirements.lock"
STACK = """
[project]
name = "{name}"
version = "0"
requires-python = ">=3.10,<3.15"
dependencies = ["msgpack", "numpy"]
[tool.asrbench]
worker = "worker.py"
accelerators = ["cpu"]
[tool.asrbench.models.{name}]
"""


@pytest.fixture
def build(tmp_path, asrbench):
    """A stack and its env: build(name) → (the stack's folder, the env's)."""

    def make(name):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "pyproject.toml").write_text(STACK.format(name=name), encoding="utf-8")
        source = "def load(checkpoint, device): pass\ndef transcribe(model, audio): return ''\n"
        (folder / "worker.py").write_text(source, encoding="utf-8")
        shutil.copy(LOCK, folder)
        built = asrbench("env", "build", name, "--stacks", folder)
        assert built.code == 0, built.err
        return folder, Path(built.out.splitlines()[-1])

    return make


def test_what_no_stack_asks_for_goes_and_all_else_stays(asrbench, puppet_env, build, home):
    needed, needed_env = build("needed")
    gone, gone_env = build("gone")
    shutil.rmtree(gone)
    abandoned = home / "envs" / f".new-gone-cpu-0123456789ab-{2**22 + 1}"  # over any process id
    abandoned.mkdir()
    mine = home / "envs" / f".new-gone-cpu-0123456789ab-{os.getpid()}"
    mine.mkdir()
    done = asrbench("env", "prune")
    assert done.code == 0, done.err
    assert f"removed {gone_env}: " in done.out
    assert not gone_env.exists()
    assert not abandoned.exists()
    assert mine.exists()
    assert needed_env.exists()
    assert puppet_env.exists()
    mine.rmdir()
    toml = needed / "pyproject.toml"
    text = toml.read_text(encoding="utf-8")
    toml.write_text("[project\n", encoding="utf-8")  # while somebody edits it
    assert asrbench("env", "prune").out == ""
    assert needed_env.exists()
    toml.write_text(text.replace('"numpy"', '"numpy", "six"'), encoding="utf-8")
    assert asrbench("env", "lock", "needed", "--stacks", needed).code == 0
    assert str(needed_env) in asrbench("env", "prune").out
    assert not needed_env.exists()


def test_files_that_another_has_too_are_counted_as_shared(tmp_path):
    env, cache = tmp_path / "env", tmp_path / "cache"
    (env / "lib").mkdir(parents=True)
    (env / "own").write_bytes(b"x" * 10)
    cache.write_bytes(b"y" * 1000)
    os.link(cache, env / "lib" / "linked")
    size = size_of(env)
    assert (size.total_bytes, size.shared_bytes) == (1010, 1000)


def test_an_env_shares_its_packages_with_the_cache(build, environment):
    _, env = build("linked")
    if env.stat().st_dev != Path(environment["UV_CACHE_DIR"]).stat().st_dev:
        pytest.skip("envs and uv's cache are on two disks here")
    size = size_of(env)
    assert size.shared_bytes > size.total_bytes / 2  # bytecode is its own
