"""Envs: whole or absent, proved, rebuilt alone; and clear words where a stack is wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, STACKS

STACK = """
[project]
name = "{name}"
version = "0"
requires-python = ">=3.10,<3.15"
dependencies = ["msgpack", "numpy"]
[tool.asrbench]
worker = "worker.py"
accelerators = ["cpu"]
[tool.asrbench.models.{name}-model]
"""
LOCK = STACKS / "puppet" / "requirements.lock"  # of the same packages
WORKER = (
    "def load(checkpoint, device):\n    return 1\ndef transcribe(model, audio):\n    return ''\n"
)


@pytest.fixture
def make_stack(tmp_path):
    """Write a stack of one's own; replacements change the TOML. lock: one that fits it."""

    def make(name="mine", worker=WORKER, lock=None, **replacements):
        folder = tmp_path / "stacks" / name
        folder.mkdir(parents=True, exist_ok=True)
        text = STACK.format(name=name)
        for old, new in replacements.items():
            key = old.replace("_", "-")
            assert key in text
            text = text.replace(key, new)
        (folder / "pyproject.toml").write_text(text, encoding="utf-8")
        if worker is not None:
            (folder / "worker.py").write_text(worker, encoding="utf-8")
        if lock is not None:
            shutil.copy(lock, folder)
        return folder

    return make


@pytest.fixture
def env(asrbench):
    """asrbench env VERB STACK for a stack's folder."""

    def run(verb, folder, **kwargs):
        return asrbench("env", verb, folder.name, "--stacks", folder, **kwargs)

    return run


def tree_hash(folder):
    found = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        found.update(str(file.relative_to(folder)).encode())
        if file.is_file() and not file.is_symlink():
            found.update(file.read_bytes())
    return found.hexdigest()


def test_a_rebuild_replaces_one_env_and_leaves_the_others_byte_for_byte(
    env, make_stack, puppet_env
):
    mine = make_stack(lock=LOCK)
    first = env("build", mine)
    assert first.code == 0, first.err
    folder = Path(first.out.splitlines()[-1])
    (folder / "damage").write_text("", encoding="utf-8")
    before = tree_hash(puppet_env)
    again = env("rebuild", mine)
    assert again.code == 0, again.err
    assert Path(again.out.splitlines()[-1]) == folder
    assert not (folder / "damage").exists()
    assert tree_hash(puppet_env) == before


def test_running_a_model_does_not_change_its_env(asrbench, puppet_env, clips, tmp_path):
    before = tree_hash(puppet_env)
    asrbench(
        "orchestrate", "--models", "puppet", "--stacks", STACKS, "--snippets", clips("say"),
        "--results", tmp_path / "r",
    )  # fmt: skip
    assert tree_hash(puppet_env) == before


def test_a_failed_rebuild_leaves_the_old_env_working(env, make_stack):
    mine = make_stack(lock=LOCK)
    folder = Path(env("build", mine).out.splitlines()[-1])
    before = tree_hash(folder)
    (mine / "worker.py").write_text("import a_library_that_is_not_there\n", encoding="utf-8")
    failed = env("rebuild", mine)
    assert failed.code == 3
    assert "No module named 'a_library_that_is_not_there'" in failed.err
    assert tree_hash(folder) == before
    assert [path for path in folder.parent.iterdir() if path.name.startswith(".new-mine")] == []


def test_two_builders_end_with_one_whole_env(environment, env, make_stack, home):
    mine = make_stack(name="two-builders", lock=LOCK)
    command = [sys.executable, "-m", "orchestrator", "env", "build", mine.name, "--stacks", mine]
    builders = [
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, encoding="utf-8"
        )
        for _ in range(2)
    ]
    outs = [builder.communicate(timeout=100)[0] for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0]
    assert len({out.splitlines()[-1] for out in outs}) == 1
    assert len(list((home / "envs").glob("two-builders-*"))) == 1
    assert env("check", mine).code == 0


def test_list_check_and_remove_agree_on_what_is_there(asrbench, env, make_stack):
    mine = make_stack(name="listed")
    assert "not locked" in asrbench("env", "list", "--stacks", mine).out
    assert env("check", mine).code == 3
    folder = Path(env("build", mine).out.splitlines()[-1])
    assert str(folder) in asrbench("env", "list", "--stacks", mine).out.replace("\n", "")
    checked = env("check", mine)
    assert checked.code == 0
    assert "listed: ok" in checked.out
    marker = json.loads((folder / "asrbench-env.json").read_text(encoding="utf-8"))
    assert {line.partition("==")[0] for line in marker["packages"]} == {"msgpack", "numpy"}
    assert env("remove", mine).code == 0
    assert not folder.exists()
    assert env("check", mine).code == 3


def test_an_env_that_lost_a_package_does_not_pass_its_check(env, make_stack):
    mine = make_stack(name="lossy", lock=LOCK)
    folder = Path(env("build", mine).out.splitlines()[-1])
    shutil.rmtree(next(folder.rglob("site-packages")) / "numpy")
    checked = env("check", mine)
    assert checked.code == 3
    assert "does not work" in checked.err


def test_a_lock_has_hashes_and_names_no_host(env, make_stack):
    mine = make_stack()
    env("lock", mine)
    text = (mine / "requirements.lock").read_text(encoding="utf-8")
    assert "--hash=sha256:" in text
    assert "://" not in text
    assert "index" not in text
    shipped = (ROOT / "envs" / "pocketsphinx" / "requirements.lock").read_text(encoding="utf-8")
    assert "--hash=sha256:" in shipped
    assert "://" not in shipped


def test_a_lock_that_does_not_match_its_stack_is_refused(env, make_stack):
    mine = make_stack()
    env("lock", mine)
    make_stack(numpy='numpy", "click')
    done = env("build", mine)
    assert done.code == 2
    assert "requirements.lock does not match" in done.err
    assert "asrbench env lock mine" in done.err


def test_a_tampered_package_hash_fails_the_build(env, make_stack):
    mine = make_stack(name="tampered")
    env("lock", mine)
    lock = mine / "requirements.lock"
    lines = lock.read_text(encoding="utf-8").splitlines(keepends=True)
    bad = [line.replace(line.split("sha256:")[1][:8], "00000000") if "sha256:" in line else line
           for line in lines if not line.startswith("# stack")]  # fmt: skip
    stamp = [line for line in lines if line.startswith("# stack")]
    lock.write_text("".join(stamp + bad), encoding="utf-8")
    done = env("build", mine)
    assert done.code == 3
    assert "hash" in done.err.lower()


def test_a_stack_that_cannot_be_resolved_costs_its_rows_and_says_why(
    asrbench, puppet_env, make_stack, clips, tmp_path
):
    mine = make_stack(numpy="numpy<1,>2")
    done = asrbench(
        "orchestrate", "--models", "mine-model,puppet", "--stacks", mine, "--stacks", STACKS,
        "--snippets", clips("say"), "--results", tmp_path / "r", "--json",
    )  # fmt: skip
    assert done.code == 1
    rows = {row["model"]: row for row in done.json()["rows"]}
    assert rows["puppet"]["outcome"] == "ok"
    assert (rows["mine-model"]["outcome"], rows["mine-model"]["phase"]) == ("failed", "env")
    assert "incompatible" in rows["mine-model"]["error"]


@pytest.mark.parametrize(
    ("worker", "words"),
    [
        ("def load(checkpoint, device): pass\n", "has no function transcribe()"),
        ("def load(checkpoint): pass\ndef transcribe(m, a): pass\n", "too many positional"),
        ("def (\n", "SyntaxError"),
    ],
)
def test_a_worker_that_is_not_one_is_found_when_its_env_is_proved(env, make_stack, worker, words):
    done = env("build", make_stack(name="unfit", worker=worker, lock=LOCK))
    assert done.code == 3
    assert words in done.err
    assert "Traceback" not in done.err


def test_an_option_that_the_worker_does_not_take_is_named(env, make_stack):
    folder = make_stack(name="picky", lock=LOCK)
    file = folder / "pyproject.toml"
    file.write_text(file.read_text(encoding="utf-8") + "options = { beamz = 5 }\n", "utf-8")
    done = env("build", folder)
    assert done.code == 3
    assert "beamz" in done.err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"worker = ": "wroker = "}, "unknown key tool.asrbench.wroker; known here: worker"),
        ({"[tool.asrbench]\n": "[tool.asrbench\n"}, "is not valid TOML"),
        ({'["cpu"]': '["gpu"]'}, "tool.asrbench.accelerators.0"),
        ({'name = "mine"': 'name = "yours"'}, "project.name is 'yours' but its folder 'mine'"),
        ({'"worker.py"': '"../worker.py"'}, "tool.asrbench.worker"),
        ({'"worker.py"': '"elsewhere.py"'}, "there is no"),
        ({'requires-python = ">=3.10,<3.15"': ""}, "project.requires-python is missing"),
        ({"models.mine-model": 'models."../evil"'}, "tool.asrbench.models"),
        (
            {"models.mine-model]": "models.mine-model]\noptions = { day = 2026-01-31 }"},
            "cannot be sent to a worker",
        ),
        ({'"numpy"]': '"numpy", "Mine>1"]'}, "take its dependency 'Mine>1' for the stack itself"),
        ({"models.mine-model": "models.pocketsphinx"}, "model 'pocketsphinx' is in two stacks"),
    ],
)
def test_a_wrong_stack_file_stops_everything_with_file_and_key(
    in_process, make_stack, change, words
):
    folder = make_stack()
    file = folder / "pyproject.toml"
    text = file.read_text(encoding="utf-8")
    for old, new in change.items():
        assert old in text
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")
    done = in_process("models", "list", "--stacks", folder)
    assert done.code == 2
    assert words in done.err
    assert str(folder) in done.err
    assert "Traceback" not in done.err


def test_stacks_come_from_the_environment_variable_too(asrbench, make_stack):
    folder = make_stack(name="from-variable")
    done = asrbench("models", "list", "--json", env={"ASRBENCH_STACKS": str(folder.parent)})
    assert "from-variable-model" in {one["model"] for one in done.json()}


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
@pytest.mark.parametrize("verb", ["rebuild", "remove"])
def test_an_env_in_use_is_neither_replaced_nor_removed(
    environment, asrbench, puppet_env, clips, tmp_path, verb
):
    controller = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "orchestrate", "--models", "puppet", "--stacks",
         STACKS, "--snippets", clips("sleep"), "--results", tmp_path / "r", "--quiet"],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    log = tmp_path / "r" / "latest" / "logs" / "puppet.log"
    limit = time.monotonic() + 60
    while not log.exists() and time.monotonic() < limit:
        time.sleep(0.05)
    before = tree_hash(puppet_env)
    done = asrbench("env", verb, "puppet", "--stacks", STACKS)
    controller.terminate()
    controller.wait(timeout=30)
    assert done.code == 3
    assert f"in use by a run (process {controller.pid})" in done.err
    assert tree_hash(puppet_env) == before


def test_what_a_stack_file_says_cannot_steer_a_terminal(asrbench, make_stack):
    folder = make_stack(name="loud")
    file = folder / "pyproject.toml"
    file.write_text(file.read_text(encoding="utf-8") + 'licence = "[/red]\\u001b[31mX"\n', "utf-8")
    done = asrbench("models", "list", "--stacks", folder)
    assert done.code == 0, done.err
    assert "[/red]" in done.out
    assert "\x1b" not in done.out


@pytest.mark.parametrize("checkpoint", ["a/b:/etc/passwd", "a/b:../c", "a/b; rm -rf", "../x", "b"])
def test_a_checkpoint_that_leaves_its_folder_is_refused(in_process, make_stack, checkpoint):
    folder = make_stack(name="sly")
    file = folder / "pyproject.toml"
    file.write_text(file.read_text(encoding="utf-8") + f"checkpoint = {checkpoint!r}\n", "utf-8")
    done = in_process("models", "list", "--stacks", folder)
    assert done.code == 2
    assert "checkpoint" in done.err
