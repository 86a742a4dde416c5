"""Paths that are no UTF-8, which no record could name: refused before anything is made."""

from __future__ import annotations

import os
import shutil
import sys

import pytest
from conftest import STACKS

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="macOS and Windows have no such names"
)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--results", "{}/r"],
        ["--snippets", "{}"],
        ["--stacks", "{}"],
        ["--checkpoint", "pocketsphinx={}"],
        ["--resume", "{}"],
    ],
)
def test_a_path_that_no_record_could_name_is_refused_before_anything_is_made(
    in_process, monkeypatch, tmp_path, arguments
):
    odd = tmp_path / os.fsdecode(b"b\xff")
    odd.mkdir()
    (odd / "run.json").write_text("{}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    done = in_process("orchestrate", *(word.format(odd) for word in arguments))
    assert done.code == 2, done.out + done.err
    assert f"{tmp_path}/b\\udcff" in done.err
    assert "is not UTF-8" in done.err
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == [odd]
    assert [file.name for file in odd.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("variable", "command"),
    [
        ("ASRBENCH_STACKS", "orchestrate --models puppet --results r"),
        ("ASRBENCH_STACKS", "env list"),
        ("ASRBENCH_HOME", "orchestrate --models puppet --results r"),
        ("ASRBENCH_HOME", "env build puppet"),
        ("HOME", "orchestrate --models puppet --results r"),
        ("HOME", "env list"),
    ],
)
def test_a_variable_that_no_record_could_name_is_refused_before_anything_is_made(
    in_process, monkeypatch, tmp_path, variable, command
):
    odd = tmp_path / os.fsdecode(b"b\xff")
    shutil.copytree(STACKS / "puppet", odd / "puppet")
    before = sorted(tmp_path.rglob("*"))
    given = {"ASRBENCH_STACKS": str(STACKS), variable: str(odd)}
    if variable == "HOME":  # which the default of ASRBENCH_HOME is in
        given |= {"ASRBENCH_HOME": "", "XDG_DATA_HOME": "", "XDG_CACHE_HOME": ""}
    monkeypatch.chdir(tmp_path)
    done = in_process(*command.split(), env=given)
    assert done.code == 2, done.out + done.err
    named = "the default of ASRBENCH_HOME," if variable == "HOME" else variable
    assert f"error: {named} " in done.err
    assert f"{tmp_path}/b\\udcff" in done.err
    assert "is not UTF-8" in done.err
    assert "Traceback" not in done.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("where", ["the stack's own folder", "behind a link"])
def test_a_stack_that_no_record_could_name_is_refused(asrbench, tmp_path, where):
    odd = tmp_path / os.fsdecode(b"b\xff")
    shutil.copytree(STACKS / "puppet", odd)
    root = tmp_path
    if where == "behind a link":
        root = tmp_path / "link"
        root.symlink_to(odd)
    done = asrbench("env", "list", "--stacks", root)
    assert done.code == 2, done.out + done.err
    assert f"--stacks {tmp_path}/b\\udcff: this path is not UTF-8" in done.err


def test_a_hub_cache_that_no_record_could_name_costs_its_own_models_only(
    asrbench, puppet_env, clips, tmp_path
):
    stack = tmp_path / "far"
    stack.mkdir()
    text = (STACKS / "puppet" / "pyproject.toml").read_text(encoding="utf-8")
    text = text.partition("[tool.asrbench.models")[0].replace('"puppet"', '"far"')
    text += '[tool.asrbench.models.far]\ncheckpoint = "owner/repo"\n'
    (stack / "pyproject.toml").write_text(text, encoding="utf-8")
    (stack / "worker.py").write_text("", encoding="utf-8")
    hub = tmp_path / os.fsdecode(b"b\xff")
    snapshot = hub / "models--owner--repo" / "snapshots" / "one"
    snapshot.mkdir(parents=True)
    (snapshot / "model.bin").write_bytes(b"weights")
    done = asrbench(
        "orchestrate", "--models", "far,puppet", "--stacks", STACKS, "--stacks", stack,
        "--snippets", clips("say"), "--results", tmp_path / "r", "--json",
        env={"HF_HUB_CACHE": str(hub)},
    )  # fmt: skip
    assert done.code == 1, done.err
    rows = {row["model"]: row for row in done.json()["rows"]}
    assert rows["puppet"]["outcome"] == "ok"
    assert rows["far"]["outcome"] == "failed"
    assert "is not UTF-8" in rows["far"]["error"]
