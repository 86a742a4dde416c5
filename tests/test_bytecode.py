"""Bytecode is compiled once for all envs, and Python takes it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import STACKS, stack_toml

from orchestrator.environments import bytecode
from orchestrator.platforms import venv_python


@pytest.fixture(scope="module")
def other_env(asrbench, puppet_env, tmp_path_factory):
    """Of another stack with the same packages."""
    folder = tmp_path_factory.mktemp("stacks") / "sibling"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(stack_toml("sibling"), encoding="utf-8")
    shutil.copy(STACKS / "puppet" / "worker.py", folder)
    shutil.copy(STACKS / "puppet" / "requirements.lock", folder)
    built = asrbench("env", "build", "sibling", "--stacks", folder)
    assert built.code == 0, built.err
    return Path(built.out.splitlines()[-1])


def _compiled(env):
    return {file.relative_to(env): file.stat() for file in env.rglob("numpy/**/*.pyc")}


def test_two_envs_have_the_same_bytecode(puppet_env, other_env):
    one, other = _compiled(puppet_env), _compiled(other_env)
    assert len(one) > 100
    assert one.keys() == other.keys()
    assert {name: status.st_ino for name, status in one.items()} == {
        name: status.st_ino for name, status in other.items()
    }
    sources = {file.relative_to(puppet_env) for file in puppet_env.rglob("numpy/**/*.py")}
    assert len(sources) == len(one)


def test_python_takes_it_and_tells_the_envs_own_paths(other_env):
    code = "import msgpack; print(msgpack.packb.__code__.co_filename)"
    done = subprocess.run(
        [venv_python(other_env), "-I", "-B", "-v", "-c", code],
        capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    file = done.stdout.strip()
    assert Path(file) == next(other_env.rglob("msgpack/__init__.py"))
    assert f"code object from '{file}'" not in done.stderr  # it would be compiled then
    assert "msgpack/__pycache__/__init__" in done.stderr.replace("\\", "/")


def test_what_no_env_has_any_more_is_dropped(monkeypatch, tmp_path):
    monkeypatch.setenv("ASRBENCH_HOME", str(tmp_path))
    shared = tmp_path / "envs" / ".bytecode" / "00"
    shared.mkdir(parents=True)
    (shared / "used.pyc").write_bytes(b"12")
    (shared / "left.pyc").write_bytes(b"123")
    (tmp_path / "link.pyc").hardlink_to(shared / "used.pyc")
    assert bytecode.drop_unused() == 3
    assert [file.name for file in shared.iterdir()] == ["used.pyc"]
