"""A checkpoint's own code runs only where the stack says so and pins it."""

from __future__ import annotations

import ast
import json

import pytest
from conftest import ROOT

from orchestrator.errors import StackError
from orchestrator.stacks import read_stack

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOML = """
[project]
name = "strange"
version = "0"
requires-python = ">=3.10"
[tool.asrbench]
worker = "worker.py"
accelerators = ["cpu"]
[tool.asrbench.models.phi]
"""
WHOLE = {
    "checkpoint": '"owner/repo"',
    "revision": f'"{COMMIT}"',
    "options": "{ trust_remote_code = true }",
    "remote_code": "true",
}


@pytest.fixture
def stack(tmp_path):
    """A stack's folder whose model has these keys."""

    def make(**keys):
        folder = tmp_path / "strange"
        folder.mkdir(exist_ok=True)
        lines = [f"{key} = {value}\n" for key, value in keys.items() if value is not None]
        (folder / "pyproject.toml").write_text(TOML + "".join(lines), encoding="utf-8")
        (folder / "worker.py").write_text("", encoding="utf-8")
        return folder

    return make


def test_code_that_is_declared_and_pinned_is_accepted(stack):
    [model] = read_stack(stack(**WHOLE)).models
    assert model.remote_code
    assert model.options == {"trust_remote_code": True}


@pytest.mark.parametrize(
    ("changed", "key", "words"),
    [
        ({"remote_code": None}, "options.trust_remote_code", "remote_code = true"),
        ({"remote_code": "false"}, "options.trust_remote_code", "remote_code = true"),
        ({"options": '{ a = { trust_remote_code = "yes" } }', "remote_code": None},
         "options.a.trust_remote_code", "remote_code = true"),
        ({"options": "{ stages = [ {}, [ { trust_remote_code = true } ] ] }", "remote_code": None},
         "options.stages.1.0.trust_remote_code", "remote_code = true"),
        ({"transcribe_options": WHOLE["options"], "options": None, "remote_code": None},
         "transcribe_options.trust_remote_code", "remote_code = true"),
        ({"options": None}, "remote_code", "no option asks for it"),
        ({"options": "{ trust_remote_code = false }"}, "remote_code", "no option asks for it"),
        ({"revision": None}, "revision", "full commit hash"),
        ({"revision": '"main"'}, "revision", "full commit hash"),
        ({"revision": f'"{COMMIT[:12]}"'}, "revision", "full commit hash"),
        ({"revision": f'"{COMMIT}0"'}, "revision", "full commit hash"),
        ({"checkpoint": None}, "revision", "full commit hash"),
    ],
)  # fmt: skip
def test_anything_less_is_refused_with_file_and_key(stack, changed, key, words):
    folder = stack(**WHOLE | changed)
    with pytest.raises(StackError) as caught:
        read_stack(folder)
    assert f"{folder / 'pyproject.toml'}: tool.asrbench.models.phi.{key}" in str(caught.value)
    assert words in str(caught.value)


def test_the_list_of_models_says_which_run_code_of_their_own(in_process, stack):
    folder = stack(**WHOLE)
    listed = in_process("models", "list", "--stacks", folder, "--json").json()
    found = {one["model"]: (one["remote_code"], one["revision"]) for one in listed}
    assert found["phi"] == (True, COMMIT)
    assert found["pocketsphinx"] == (False, None)
    assert "runs code of its own" in in_process("models", "list", "--stacks", folder).out


def test_a_run_records_it(asrbench, stack, clips, tmp_path):
    folder = stack(**WHOLE)
    done = asrbench(
        "orchestrate", "--models", "phi", "--stacks", folder, "--snippets", clips("say"),
        "--results", tmp_path / "r",
    )  # fmt: skip
    assert done.code == 3  # there is no such checkpoint
    [journal] = [
        file for file in (tmp_path / "r").glob("*/journal.jsonl") if file.parent.name != "latest"
    ]
    plan = json.loads(journal.read_text(encoding="utf-8").splitlines()[0])
    assert plan["models"][0]["remote_code"] is True


def test_a_run_says_that_a_checkpoint_given_by_hand_is_not_the_pinned_one(
    asrbench, stack, clips, tmp_path
):
    folder = stack(**WHOLE)
    file = folder / "pyproject.toml"
    text = file.read_text(encoding="utf-8")
    needs = 'dependencies = ["msgpack", "numpy"]\n[tool.asrbench]'
    file.write_text(text.replace("[tool.asrbench]", needs), encoding="utf-8")
    (folder / "worker.py").write_text(
        "def load(checkpoint, device, trust_remote_code):\n    return None\n"
        "def transcribe(model, audio):\n    return 'hello world'\n",
        encoding="utf-8",
    )
    weights = tmp_path / "weights"
    weights.write_text("weights", encoding="utf-8")
    done = asrbench(
        "orchestrate", "--models", "phi", "--stacks", folder, "--snippets", clips("say"),
        "--results", tmp_path / "r", "--checkpoint", f"phi={weights}",
    )  # fmt: skip
    assert done.code == 0, done.out + done.err
    assert "phi: runs code of its checkpoint (given by hand, pinned by nothing)" in done.out


def test_no_shipped_worker_trusts_remote_code_by_itself():
    """It has to come as an option from the stack's file, where it is checked."""
    found = [
        (file.name, node.lineno)
        for file in (ROOT / "workers").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.keyword)
        and node.arg == "trust_remote_code"
        and isinstance(node.value, ast.Constant)
        and node.value.value
    ]
    assert not found
