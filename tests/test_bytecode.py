"""Bytecode is compiled once for all envs, and Python takes it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from conftest import STACKS, held, stack_toml

from orchestrator.environments import bytecode
from orchestrator.environments.env import site_packages
from orchestrator.errors import EnvError
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


@pytest.fixture
def virtualenv(tmp_path, monkeypatch):
    """virtualenv(name, **modules) → a fresh one with these modules, in a home of its own."""
    monkeypatch.setenv("ASRBENCH_HOME", str(tmp_path))

    def make(name, **modules):
        folder = tmp_path / name
        venv.create(folder, with_pip=False)
        for module, source in modules.items():
            file = site_packages(folder)[0] / f"{module}.py"
            file.write_text(source, encoding="utf-8")
            os.utime(file, (1e9, 1e9))
        return folder

    return make


def _compile(folder):
    scratch = folder / "scratch"
    scratch.mkdir()
    bytecode.compile_all(folder, scratch)
    return {file.name.partition(".")[0]: file for file in site_packages(folder)[0].rglob("*.pyc")}


def test_only_what_has_the_same_bytes_is_shared(virtualenv):
    one = _compile(virtualenv("one", same="a = 1", other="a = 1"))
    two = _compile(virtualenv("two", same="a = 1", other="a = 2"))  # same time and size
    assert [one[name].samefile(two[name]) for name in ("same", "other")] == [True, False]


def test_what_cannot_be_compiled_is_left_out(virtualenv):
    long = "x" * 240  # .py is a name that fits, .cpython-311.pyc is not
    made = _compile(virtualenv("old", good="a = 1", python2="print 1", **{long: "a = 1"}))
    assert made.keys() == {"good"}


def test_bytecode_that_a_package_brought_is_in_no_env(virtualenv):
    made = []
    for name in ("one", "two"):
        folder = virtualenv(name, module="a = 1")
        cached = site_packages(folder)[0] / "__pycache__"
        cached.mkdir()
        (cached / f"module.{sys.implementation.cache_tag}.pyc").write_bytes(b"stale")
        made.append(_compile(folder)["module"])
    assert made[0].samefile(made[1])
    assert made[0].read_bytes() != b"stale"


def test_what_is_compiled_depends_on_nothing_but_its_source(virtualenv, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")  # would make Python hash sources at run time
    patched = virtualenv("patched", module="a = 'here'")
    (site_packages(patched)[0] / "patch.pth").write_text(
        "import builtins as b; c = b.compile; "
        "b.compile = lambda s, *a, **k: c(s.replace(b'here', b'away'), *a, **k)\n",
        encoding="utf-8",
    )
    content = _compile(patched)["module"].read_bytes()
    assert b"here" in content
    assert content[4:8] == bytes(4)  # by the source's time


@pytest.mark.parametrize("spoil", [lambda whole: whole[:20], lambda whole: bytes(len(whole))])
def test_bytecode_that_a_disk_spoiled_gets_into_no_further_env(virtualenv, spoil):
    first = _compile(virtualenv("first", module="a = [1, 2, 3]"))["module"]
    whole = first.read_bytes()
    first.write_bytes(spoil(whole))
    second = _compile(virtualenv("second", module="a = [1, 2, 3]"))["module"]
    third = _compile(virtualenv("third", module="a = [1, 2, 3]"))["module"]
    assert second.read_bytes() == whole
    assert second.samefile(third)


@pytest.mark.skipif(sys.platform == "win32", reason="by a shell")
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("ulimit -f 8", "could not be written whole; is the disk full"),
        ("kill -9 $$", "ended with -9"),
    ],
)
def test_a_compiler_that_fails_fails_the_build_and_leaves_nothing(virtualenv, fault, words):
    source = "".join(f"name{number} = 'value {number}'\n" for number in range(2000))
    folder = virtualenv("env", module=source)
    python = venv_python(folder)
    real = python.rename(python.with_name("python-itself"))
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *compile_inside*) {fault};; esac\nexec "{real}" "$@"\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    with pytest.raises(EnvError, match=words):
        _compile(folder)
    assert list(folder.rglob("*.pyc")) == []
    assert list((folder.parent / "envs").rglob("*.pyc")) == []


def test_ctrl_c_as_a_compiler_begins_leaves_nothing_behind(
    virtualenv, ctrl_c_after, monkeypatch, tmp_path
):
    def compiles(arguments):
        return str(slow) in arguments[1]

    slow = tmp_path / "slow.py"
    slow.write_text("import time\ntime.sleep(20)\n", encoding="utf-8")
    monkeypatch.setattr(bytecode, "_INSIDE", slow)
    folder = virtualenv("env", one="a = 1", other="a = 2")
    before = held()
    with ctrl_c_after(subprocess.Popen, "_execute_child", compiles):
        _compile(folder)
    assert held() == before


def test_what_no_env_has_any_more_is_dropped(monkeypatch, tmp_path):
    monkeypatch.setenv("ASRBENCH_HOME", str(tmp_path))
    shared = tmp_path / "envs" / ".bytecode" / "00"
    shared.mkdir(parents=True)
    (shared / "used.pyc").write_bytes(b"12")
    (shared / "left.pyc").write_bytes(b"123")
    (tmp_path / "link.pyc").hardlink_to(shared / "used.pyc")
    assert bytecode.drop_unused() == 3
    assert [file.name for file in shared.iterdir()] == ["used.pyc"]
