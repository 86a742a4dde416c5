"""What envs take on the disk, and how those go that nobody needs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import STACKS, stack_toml

from orchestrator.environments import store
from orchestrator.environments.inventory import size_of
from orchestrator.environments.locks import hold_env
from orchestrator.environments.store import MARKER
from orchestrator.errors import EnvError

LOCK = STACKS / "puppet" / "requirements.lock"
STACK = stack_toml("mine")


def test_what_no_stack_asks_for_goes_and_all_else_stays(
    asrbench, in_process, home, tmp_path, monkeypatch
):
    stack = tmp_path / "mine"
    stack.mkdir()
    (stack / "pyproject.toml").write_text(STACK, encoding="utf-8")
    source = "def load(checkpoint, device): pass\ndef transcribe(model, audio): return ''\n"
    (stack / "worker.py").write_text(source, encoding="utf-8")
    shutil.copy(LOCK, stack)
    built = asrbench("env", "build", "mine", "--stacks", stack)
    assert built.code == 0, built.err
    env = Path(built.out.splitlines()[-1])
    ghost = home / "envs" / "ghost-cpu-0123456789ab"  # its stack is gone
    ghost.mkdir()
    marker = json.loads((env / MARKER).read_text(encoding="utf-8"))
    marker |= {"stack": "ghost", "stack_folder": str(tmp_path / "ghost")}
    (ghost / MARKER).write_text(json.dumps(marker), encoding="utf-8")
    killed, working = (home / "envs" / f".new-mine-cpu-{digit * 12}-1" for digit in "ab")
    killed.mkdir()
    working.mkdir()
    toml = stack / "pyproject.toml"
    toml.write_text("[project\n", encoding="utf-8")  # while somebody edits it
    monkeypatch.setenv("ASRBENCH_HOME", str(home))
    with hold_env("mine-cpu-" + "b" * 12, print):
        done = in_process("env", "prune")
    assert done.code == 0, done.err
    assert f"removed {ghost}: 0 MB" in done.out
    assert str(env) not in done.out
    assert [one.exists() for one in (env, working, ghost, killed)] == [True, True, False, False]
    working.rmdir()
    toml.write_text(STACK, encoding="utf-8")
    assert in_process("env", "prune").out == ""
    with (stack / LOCK.name).open("a", encoding="utf-8") as lock:
        lock.write("# locked anew\n")
    assert f"removed {env}: " in in_process("env", "prune").out
    assert not env.exists()


def test_files_that_another_has_too_are_counted_as_shared(tmp_path):
    env, cache = tmp_path / "env", tmp_path / "cache"
    (env / "lib").mkdir(parents=True)
    (env / "own").write_bytes(b"x" * 10)
    cache.write_bytes(b"y" * 1000)
    os.link(cache, env / "lib" / "linked")
    size = size_of(env)
    assert (size.total_bytes, size.shared_bytes) == (1010, 1000)


def test_an_env_shares_its_packages_with_the_cache(puppet_env, environment):
    if puppet_env.stat().st_dev != Path(environment["UV_CACHE_DIR"]).stat().st_dev:
        pytest.skip("envs and uv's cache are on two disks here")
    size = size_of(puppet_env)
    assert size.shared_bytes > size.total_bytes / 2  # bytecode is its own


def test_an_old_env_whose_builder_was_killed_is_put_back_and_not_pruned(
    in_process, puppet_env, home
):
    # as it is between the two renames of a rebuild; a container repeats process ids
    puppet_env.rename(puppet_env.with_name(f".old-{puppet_env.name}-{os.getpid()}"))
    pruned = in_process("env", "prune")
    assert pruned.code == 0
    assert "puppet" not in pruned.out
    assert in_process("env", "check", "puppet", "--stacks", STACKS).code == 0
    assert puppet_env.is_dir()


def test_a_removal_that_was_killed_does_not_come_back(in_process, home):
    gone = _env(home / "envs" / ".gone-mine-cpu-0123456789ab-1")
    assert f"removed {gone}" in in_process("env", "prune").out
    assert not gone.exists()
    assert not (home / "envs" / "mine-cpu-0123456789ab").exists()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Of an env that works, alone in its home."""
    monkeypatch.setenv("ASRBENCH_HOME", str(tmp_path))
    return _env(tmp_path / "envs" / "mine-cpu-0123456789ab")


def _env(folder):
    folder.mkdir(parents=True)
    marker = {"stack": "mine", "accelerator": "cpu", "python": "3.11.2", "lock_sha256": "0"}
    (folder / MARKER).write_text(json.dumps(marker | {"build_s": 1.0}), encoding="utf-8")
    return folder


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_replacement_that_is_interrupted_leaves_one_of_the_two(place, monkeypatch, renames):
    fresh = _env(store.beside(place, "new"))
    (fresh / "fresh").touch()
    rename = store.rename
    done = []

    def interrupted(source, target):
        if len(done) == renames:
            monkeypatch.setattr(store, "rename", refused)
            raise KeyboardInterrupt
        done.append(source)
        rename(source, target)
        if len(done) == 2 == renames:
            raise KeyboardInterrupt

    def refused(source, target):  # to put the old one back, too
        raise EnvError("no")

    monkeypatch.setattr(store, "rename", interrupted)
    with pytest.raises((KeyboardInterrupt, EnvError)):
        store.put_in_place(fresh, place)
    with hold_env(place.name, print):
        store.clear_up(place)
    assert (place / "fresh").exists() == (renames == 2)
    assert {one.name for one in place.parent.iterdir()} == {place.name, ".locks"}


def test_an_old_env_stays_as_long_as_none_is_in_its_place(place, monkeypatch):
    old = place.rename(store.beside(place, "old"))

    def refused(self, target):
        raise PermissionError(13, "in use")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refused)
        assert store.clear_up(place) == []
        assert store.read_env(old)
    assert store.clear_up(place) == []
    assert store.read_env(place)


def test_a_half_env_is_never_put_back(place):
    (place / MARKER).unlink()
    old = place.rename(store.beside(place, "old"))
    assert store.clear_up(place) == [old]
    assert not place.exists()


def test_an_old_env_whose_marker_cannot_be_read_just_now_is_not_deleted(place, monkeypatch):
    place.rename(store.beside(place, "old"))
    with monkeypatch.context() as patched:
        patched.setattr(store, "read_env", lambda folder: None)
        store.clear_up(place)
    assert store.read_env(place)


def test_a_removed_env_does_not_come_back_as_the_one_before_it(place):
    _env(store.beside(place, "old"))  # its builder was killed when the new one was in place
    store.remove_env(store.list_envs()[0])
    assert [one.name for one in place.parent.iterdir()] == [".locks"]
    assert store.clear_up_all() == []


def test_an_env_whose_old_one_stays_is_not_removed(place, monkeypatch):
    _env(store.beside(place, "old"))
    monkeypatch.setattr(store, "delete", lambda folder: None)  # in use, on Windows
    with pytest.raises(EnvError, match="is it in use"):
        store.remove_env(store.list_envs()[0])
    assert store.read_env(place)


def test_what_is_named_like_ours_and_is_not_harms_nothing(place):
    stray = place.with_name(".new-stray")
    stray.touch()
    beside_home = _env(place.parent.with_name(".old-envs-mine"))
    assert store.clear_up_all() == []
    assert beside_home.is_dir()
    assert stray.exists()


def test_nothing_of_an_env_is_deleted_whose_marker_stays(place, monkeypatch):
    (place / "lib").mkdir()

    def refused(self, missing_ok=False):
        raise PermissionError(13, "in use")

    monkeypatch.setattr(Path, "unlink", refused)
    store.delete(place)
    assert (place / "lib").is_dir()


def test_what_is_being_deleted_is_no_env_any_more(tmp_path, monkeypatch):
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / MARKER).write_text("{}", encoding="utf-8")
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)  # killed at its beginning
    store.delete(tmp_path / "env")
    assert list((tmp_path / "env").iterdir()) == []


def test_stacks_on_a_disk_that_is_not_mounted_keep_their_envs(in_process, tmp_path):
    folder = tmp_path / "disk" / "away"
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(stack_toml("away"), encoding="utf-8")
    shutil.copy(STACKS / "puppet" / "worker.py", folder)
    shutil.copy(STACKS / "puppet" / "requirements.lock", folder)
    built = in_process("env", "build", "away", "--stacks", folder)
    assert built.code == 0, built.err
    env = Path(built.out.splitlines()[-1])
    folder.rename(tmp_path / "away")
    in_process("env", "prune")
    assert env.is_dir()
    (tmp_path / "disk" / "another").mkdir()
    in_process("env", "prune")
    assert not env.exists()
