"""Whether a lock fits machines that this one is not, and all stacks in one command."""

from __future__ import annotations

import shutil

import pytest
from conftest import STACKS, stack_toml

from orchestrator import paths


@pytest.fixture
def make(tmp_path, in_process):
    """A stack with these dependencies, and its lock."""

    def make(name, dependencies, locked=True):
        folder = tmp_path / "stacks" / name
        folder.mkdir(parents=True)
        text = stack_toml(name, dependencies=dependencies, python=">=3.12,<3.13")
        (folder / "pyproject.toml").write_text(text, encoding="utf-8")
        (folder / "worker.py").write_text("", encoding="utf-8")
        if locked:
            done = in_process("env", "lock", name, "--stacks", folder)
            assert done.code == 0, done.err
        return folder

    return make


def test_a_lock_without_wheels_for_windows_is_named_with_the_resolvers_words(in_process, make):
    folder = make("no-windows", ["msgpack", "uvloop"])
    done = in_process("env", "check", "no-windows", "--platforms", "--stacks", folder)
    assert done.code == 3
    assert "no-windows: Linux x86-64: Python 3.12" in done.out
    assert "no-windows: macOS arm64: Python 3.12" in done.out
    assert "no-windows: Windows x86-64: Python none" in done.out
    assert "not Windows x86-64, cpu, Python 3.12:" in done.err
    assert "uvloop" in done.err
    assert "Traceback" not in done.err


@pytest.fixture
def one_shipped(monkeypatch, tmp_path):
    """As if pocketsphinx shipped alone: the others take minutes, and indexes of torch."""
    shipped = tmp_path / "shipped"
    shutil.copytree(paths.SHIPPED_STACKS / "pocketsphinx", shipped / "pocketsphinx")
    shutil.copy(paths.SHIPPED_STACKS / "accelerators.toml", shipped)
    monkeypatch.setattr(paths, "SHIPPED_STACKS", shipped)


def test_all_stacks_are_checked_although_one_is_wrong(in_process, make, one_shipped):
    folder = make("unlocked", ["msgpack"], locked=False)
    stale = make("stale", ["msgpack"])
    file = stale / "pyproject.toml"
    file.write_text(file.read_text(encoding="utf-8").replace("msgpack", "six"), "utf-8")
    done = in_process("env", "check", "--all", "--platforms", "--stacks", folder.parent)
    assert done.code == 3
    assert "unlocked: it has no lock for cpu; asrbench env lock unlocked" in done.err
    assert "stale: " in done.err
    assert "does not match" in done.err
    for platform in ("Linux x86-64", "Windows x86-64", "macOS arm64"):
        assert f"pocketsphinx: {platform}: Python 3.10, 3.11, 3.12, 3.13" in done.out


@pytest.mark.parametrize("words", [[], ["--all", "puppet"]])
def test_one_stack_is_named_or_all(in_process, words):
    done = in_process("env", "check", *words, "--stacks", STACKS)
    assert done.code == 2
    assert "name one STACK, or all of them by --all" in done.err


def test_all_envs_are_proved_in_one_command(asrbench, puppet_env, tmp_path):
    done = asrbench("env", "check", "--all", "--stacks", STACKS / "puppet")
    assert f"puppet: ok: {puppet_env}" in done.out
    assert done.code == (3 if done.err else 0)  # others may not be built
    assert "pocketsphinx" in done.out + done.err
