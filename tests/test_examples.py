"""Stacks of examples/: whole but for what only the person who runs them can say."""

from __future__ import annotations

import shutil

import pytest
from conftest import ROOT

from orchestrator.accelerators import Way
from orchestrator.environments.lock import read_lock
from orchestrator.stacks import read_stack

REMOTE_CODE = ROOT / "examples" / "phi-4-remote-code"
COMMIT = "0123456789abcdef0123456789abcdef01234567"  # of a test


def completed(folder, target):
    """A copy of the example with a commit where its comment asks for one."""
    shutil.copytree(folder, target)
    file = target / "pyproject.toml"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    place = [number for number, line in enumerate(lines) if line.startswith("# revision = ")]
    lines[place[0]] = f'revision = "{COMMIT}"\n'
    file.write_text("".join(lines), encoding="utf-8")
    return target


def test_code_that_nobody_here_has_read_is_not_run_as_it_ships(in_process):
    done = in_process("models", "list", "--stacks", REMOTE_CODE)
    assert done.code == 2
    assert f"{REMOTE_CODE / 'pyproject.toml'}: tool.asrbench.models.phi-4-remote-code" in done.err
    assert "revision has to be the full commit hash" in done.err


def test_with_a_commit_it_is_a_stack_like_any_other(in_process, tmp_path):
    folder = completed(REMOTE_CODE, tmp_path / "phi-4-remote-code")
    listed = in_process("models", "list", "--stacks", folder, "--json").json()
    (found,) = (one for one in listed if one["model"] == "phi-4-remote-code")
    assert (found["remote_code"], found["revision"]) == (True, COMMIT)


@pytest.mark.parametrize("accelerator", ["cuda", "cpu"])
def test_it_stays_with_the_torch_of_its_time(monkeypatch, tmp_path, accelerator):
    monkeypatch.delenv("ASRBENCH_ACCELERATORS", raising=False)
    stack = read_stack(completed(REMOTE_CODE, tmp_path / "phi-4-remote-code"))
    lock = read_lock(stack, Way(accelerator))  # which refuses one that does not match the stack
    assert lock.torch == ["torch", "torchvision"]
    assert lock.torch_build.versions["torch"].startswith("2.6.0")
    assert "http" not in lock.text
