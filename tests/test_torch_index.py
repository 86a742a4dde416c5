"""Torch from the index that the table names, in the shape of AMD's, and from no other."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from gpu_trees import STRIX_HALO, STRIX_HALO_IS_THERE
from package_index import SDK, VERSION, Server, amd_like, wheel

from orchestrator.platforms.gpus.display_class import gpus_of

STACK = """
[project]
name = "{name}"
version = "0"
requires-python = ">=3.10,<3.15"
dependencies = ["msgpack", "numpy", "torch>=2.13,<3"]
[tool.asrbench]
worker = "worker.py"
accelerators = ["rocm", "cpu"]
[tool.asrbench.models.{name}]
"""
WORKER = """
import os, torch
def load(checkpoint, device):
    if torch.origin != {"rocm": "amd", "cpu": "main"}[device]:
        raise RuntimeError(f"torch of {torch.origin} on {device}")
    return device
def describe(model):
    return {"device": model, "kernels": os.environ.get("TEST_KERNELS", "")}
def transcribe(model, audio):
    return "hello world"
"""
TABLE = """
[[torch]]
accelerator = "rocm"
systems = ["linux", "win32", "darwin"]
targets = ["gfx1151"]
index = "{amd}"
versions = {{ torch = "{version}" }}
extras = {{ torch = "device-{{target}}" }}
build_environment = {{ ROCM_SDK_TARGET_FAMILY = "{{target}}" }}
environment = {{ TEST_KERNELS = "{{target}}", MIOPEN_FIND_MODE = "2" }}
source = "a test"
checked = 2026-01-01
[[torch]]
accelerator = "cpu"
systems = ["linux", "win32", "darwin"]
versions = {{ torch = "2.14.0" }}
source = "a test"
checked = 2026-01-01
"""
OF_AMD_ALONE = ("rocm", "rocm-sdk-core", "rocm-sdk-libraries", "amd-torch-device-gfx1151")


@pytest.fixture(scope="module")
def servers():
    """AMD's index, and one with packages of the same names that every user has beside it."""
    server = Server()
    amd, main = server.index("amd"), server.index("main")
    amd.add(*amd_like("amd"))
    main.add(*amd_like("stolen"), wheel("rocm", "99.0"))
    main.add(
        wheel(
            "torch", "2.14.0", ["filelock", "setuptools"],
            modules={"torch/__init__.py": "origin = 'main'\n"},
        )
    )  # fmt: skip
    main.add(wheel("torch", "2.6.0", modules={"torch/__init__.py": "origin = 'main'\n"}))
    yield amd, main
    server.close()


@pytest.fixture
def indexes(servers, monkeypatch, tmp_path):
    """The same, in use on a Strix Halo."""
    amd, main = servers
    table = tmp_path / "accelerators.toml"
    table.write_text(TABLE.format(amd=amd.url, version=VERSION), encoding="utf-8")
    monkeypatch.setenv("ASRBENCH_ACCELERATORS", str(table))
    monkeypatch.setenv("UV_INDEX", main.url)
    # all that could lead torch elsewhere, although its own index is to be the only one
    config = tmp_path / "uv.toml"
    config.write_text(f'[[index]]\nurl = "{main.url}"\n', encoding="utf-8")
    monkeypatch.setenv("UV_CONFIG_FILE", str(config))
    links = tmp_path / "links"
    links.mkdir()
    for name, content in amd_like("stolen"):
        if not name.startswith("torch-"):  # with it, the folder would be the place
            (links / name).write_bytes(content)
    monkeypatch.setenv("UV_FIND_LINKS", str(links))
    laptop = gpus_of([STRIX_HALO], [STRIX_HALO_IS_THERE], ["amdhip64_7.dll"])
    monkeypatch.setattr("orchestrator.environments.choice.find_gpus", lambda: laptop)
    return amd, main


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """One whose torch depends on the accelerator. Its envs are built once."""
    folder = tmp_path_factory.mktemp("stacks") / "torch-at-work"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(STACK.format(name=folder.name), encoding="utf-8")
    (folder / "worker.py").write_text(WORKER, encoding="utf-8")
    return folder


def _packages(env):
    marker = json.loads((env / "asrbench-env.json").read_text(encoding="utf-8"))
    return dict(line.split("==") for line in marker["packages"]), marker


def test_torch_and_all_that_it_brings_come_from_its_own_index(in_process, indexes, stack):
    _, main = indexes
    done = in_process("env", "build", stack.name, "--stacks", stack)
    assert done.code == 0, done.err
    env = Path(done.out.splitlines()[-1])
    packages, marker = _packages(env)
    assert packages["torch"] == packages["amd-torch-device-gfx1151"] == VERSION
    # what was built from its sources was built for the GPU, and in no other place
    assert packages["rocm"] == packages["rocm-sdk-device-gfx1151"] == SDK
    assert (marker["accelerator"], marker["target"]) == ("rocm", "gfx1151")
    origins = {
        f.read_text("utf-8") for one in ("torch", "rocm_sdk") for f in env.rglob(f"{one}/*.py")
    }
    assert len(origins) == 2
    assert not [text for text in origins if "'amd'" not in text]
    taken = [path for path in main.asked if path.endswith((".whl", ".tar.gz"))]
    assert [path for path in taken if path.startswith(OF_AMD_ALONE)] == []
    assert "+rocm" not in "".join(taken)
    # one lock for all machines, without torch and without hosts; and this env's own with hashes
    lock = (stack / "requirements.lock").read_text(encoding="utf-8")
    assert "# from accelerators.toml: torch==2.14.0\n" in lock
    assert "\ntorch==" not in lock
    assert "filelock==" in lock
    assert "http" not in lock
    own = (env / "torch.lock").read_text(encoding="utf-8")
    assert f"torch==={VERSION}" in own
    assert own.count("--hash=sha256:") == own.count("===") == 6
    assert "http" not in own


def test_each_accelerator_has_an_env_of_its_own_and_says_what_ran(
    in_process, indexes, stack, clips, tmp_path
):
    results = tmp_path / "results"
    words = ["orchestrate", "--models", stack.name, "--stacks", stack, "--snippets", clips("say")]
    words += ["--results", results, "--json"]
    best = in_process(*words)
    assert best.code == 0, best.err
    (row,) = best.json()["rows"]
    assert (row["device"], row["fell_back"]) == ("rocm", [])
    started = _started(results)
    assert started["variables"]["TEST_KERNELS"] == "gfx1151"
    cpu = in_process(*words, "--accelerator", "cpu")
    assert cpu.code == 0, cpu.err
    assert cpu.json()["rows"][0]["device"] == "cpu"
    assert _started(results)["env"] != started["env"]
    built = in_process("env", "list", "--stacks", stack).out
    assert built.count(f"{stack.name}-rocm-") == built.count(f"{stack.name}-cpu-") == 1


def _started(results):
    lines = (results / "latest" / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    return next(line for line in map(json.loads, lines) if line["kind"] == "model_started")


@pytest.mark.long
def test_what_its_index_lacks_is_taken_from_no_other(
    in_process, indexes, stack, clips, tmp_path, monkeypatch
):
    amd, main = indexes
    built = in_process("env", "build", stack.name, "--stacks", stack)
    shutil.rmtree(built.out.splitlines()[-1])
    assert in_process("env", "lock", stack.name, "--stacks", stack).code == 0
    # the other index has one, of the very same version
    monkeypatch.delitem(amd.files, "rocm-sdk-core")
    words = ["orchestrate", "--models", stack.name, "--stacks", stack, "--snippets", clips("say")]
    words += ["--results", tmp_path / "results", "--json"]
    ran = in_process(*words)
    assert ran.code == 0, ran.err
    assert "Traceback" not in ran.err
    assert [path for path in main.asked if path.startswith("rocm-sdk-core")] == []
    # the next accelerator had its turn, and the row says why
    (row,) = ran.json()["rows"]
    assert row["device"] == "cpu"
    (why,) = row["fell_back"]
    assert why.startswith(f"rocm: env: torch of stack '{stack.name}' for rocm cannot be resolved")
    alone = in_process(*words, "--accelerator", "rocm")
    assert alone.code == 3
    (row,) = alone.json()["rows"]
    assert (row["outcome"], row["phase"]) == ("failed", "env")
    assert "likely cause: " in row["error"]
    assert "rocm-sdk-core was not found" in row["error"]


@pytest.mark.long
def test_what_was_seen_first_is_what_is_installed_until_it_is_locked_anew(
    in_process, indexes, stack, monkeypatch, tmp_path
):
    amd, _ = indexes
    first = in_process("env", "build", stack.name, "--stacks", stack)
    assert first.code == 0, first.err
    other = dict(amd_like("amd, but other bytes"))
    name = next(name for name in other if name.startswith("torch-"))
    monkeypatch.setitem(amd.files["torch"], name, other[name])
    fresh = {"UV_CACHE_DIR": str(tmp_path / "cache")}  # the first one would be taken from ours
    done = in_process("env", "rebuild", stack.name, "--stacks", stack, env=fresh)
    assert done.code == 3
    assert "likely cause: a file is not the one that was locked" in done.err
    assert in_process("env", "check", stack.name, "--stacks", stack).code == 0
    assert in_process("env", "lock", stack.name, "--stacks", stack).code == 0
    again = in_process("env", "rebuild", stack.name, "--stacks", stack, env=fresh)
    assert again.code == 0, again.err


def test_one_stack_forgets_its_own_torch_alone(monkeypatch, tmp_path, stack):
    from orchestrator.environments.install import forget_torch
    from orchestrator.stacks import read_stack

    monkeypatch.setenv("ASRBENCH_HOME", str(tmp_path))
    folder = tmp_path / "envs" / ".torch-locks"
    folder.mkdir(parents=True)
    names = [f"{stack.name}-{'0' * 12}.lock", f"{stack.name}-two-{'0' * 12}.lock"]
    for name in names:
        (folder / name).write_text("", encoding="utf-8")
    forget_torch(read_stack(stack))
    assert [file.name for file in folder.iterdir()] == names[1:]


UV_SAYS = """\
helper==1.0 \\
    --hash=sha256:00
    # via
    #   mine (pyproject.toml)
    #   torch
nvidia-cublas==13.1 ; sys_platform == 'linux' \\
    --hash=sha256:01
    # via
    #   nvidia-cudnn
    #   torch
nvidia-cudnn==9.2 ; sys_platform == 'linux' \\
    --hash=sha256:02
    # via torch
nvidia-ml-py==12.5 \\
    --hash=sha256:03
    # via mine (pyproject.toml)
torch==2.13.0 \\
    --hash=sha256:04
    # via mine (pyproject.toml)
triton==3.7.1 ; sys_platform == 'linux' \\
    --hash=sha256:05
    # via
    #   openai-whisper
    #   torch
"""


def test_a_lock_leaves_out_only_what_torch_alone_brought(monkeypatch):
    from orchestrator.environments.without_torch import without_torch

    monkeypatch.delenv("ASRBENCH_ACCELERATORS", raising=False)
    kept, torch = without_torch(UV_SAYS)
    assert torch == ["torch"]
    names = [line.partition("==")[0] for line in kept.splitlines() if not line.startswith(" ")]
    assert names == ["helper", "nvidia-ml-py", "triton"]
    assert "#" not in kept
    assert kept.count("--hash") == 3


def test_a_lock_that_was_made_for_another_torch_is_refused(
    in_process, indexes, stack, monkeypatch, tmp_path
):
    assert in_process("env", "lock", stack.name, "--stacks", stack).code == 0
    newer = tmp_path / "newer.toml"
    text = TABLE.format(amd=indexes[0].url, version="2.15.0+rocm10.1.0")
    newer.write_text(text.replace("2.14.0", "2.15.0"), encoding="utf-8")
    monkeypatch.setenv("ASRBENCH_ACCELERATORS", str(newer))
    done = in_process("env", "build", stack.name, "--stacks", stack)
    assert done.code == 2
    assert f"was made for another torch than {newer} has" in done.err


OLDER = """
[[torch]]
accelerator = "cpu"
systems = ["linux", "win32", "darwin"]
versions = { torch = "2.6.0" }
source = "a test"
checked = 2026-01-01
"""


@pytest.fixture
def older(indexes, monkeypatch, tmp_path):
    """older(wanted) → a stack that asks for this torch; the table has 2.6.0 below 2.14."""
    table = tmp_path / "with-older.toml"
    text = TABLE.format(amd=indexes[0].url, version=VERSION)
    table.write_text(text + OLDER, encoding="utf-8")
    monkeypatch.setenv("ASRBENCH_ACCELERATORS", str(table))

    def make(wanted):
        folder = tmp_path / "old-stack"
        folder.mkdir()
        text = STACK.format(name=folder.name).replace("torch>=2.13,<3", wanted)
        (folder / "pyproject.toml").write_text(text, encoding="utf-8")
        (folder / "worker.py").write_text(WORKER, encoding="utf-8")
        return folder

    return make


@pytest.mark.long
def test_a_stack_that_needs_an_older_torch_gets_the_first_row_that_has_it(in_process, older):
    folder = older("torch<2.7")
    done = in_process("env", "build", folder.name, "--stacks", folder)
    assert done.code == 0, done.err
    packages, marker = _packages(Path(done.out.splitlines()[-1]))
    # not on the GPU, for which the table has a newer one alone
    assert (packages["torch"], marker["accelerator"]) == ("2.6.0", "cpu")
    lock = (folder / "requirements.lock").read_text(encoding="utf-8")
    assert "# from accelerators.toml: torch==2.6.0\n" in lock
    done = in_process("env", "build", folder.name, "--stacks", folder, "--accelerator", "rocm")
    assert done.code == 3
    words = f"no torch for rocm for gfx1151 on {sys.platform} that is torch<2.7"
    assert f"accelerators.toml has {words}; for it there is: torch 2.14.0" in done.err
    done = in_process("env", "check", folder.name, "--stacks", folder, "--platforms")
    assert "accelerators.toml has no torch for it" in done.out + done.err  # for ROCm, nowhere


def test_a_stack_whose_torch_no_row_has_cannot_be_locked(in_process, older):
    folder = older("torch==2.5.0")
    done = in_process("env", "lock", folder.name, "--stacks", folder)
    assert done.code == 3
    assert f"stack '{folder.name}' cannot be locked: it asks for torch==2.5.0" in done.err
    assert "with-older.toml has that; there is: torch 2.14.0, 2.6.0" in done.err
    assert not (folder / "requirements.lock").exists()


def test_what_a_stack_asks_on_one_platform_chooses_no_row_for_all(monkeypatch):
    from orchestrator.environments.torch_builds import torch_ranges

    monkeypatch.delenv("ASRBENCH_ACCELERATORS", raising=False)
    asked = ["numpy<2", "Torch>=2.6", "torch<3", "torchaudio<2 ; sys_platform == 'darwin'"]
    assert {name: str(one) for name, one in torch_ranges(asked).items()} == {"torch": "<3,>=2.6"}


def test_a_gpu_that_the_table_has_no_torch_for_is_said(
    in_process, indexes, stack, monkeypatch, tmp_path
):
    text = TABLE.format(amd=indexes[0].url, version=VERSION)
    other = tmp_path / "other.toml"
    other.write_text(text.replace('["gfx1151"]', '["gfx1101"]'), encoding="utf-8")
    monkeypatch.setenv("ASRBENCH_ACCELERATORS", str(other))
    assert in_process("env", "lock", stack.name, "--stacks", stack).code == 0
    done = in_process("env", "build", stack.name, "--stacks", stack, "--accelerator", "rocm")
    assert done.code == 3
    assert f"accelerators.toml has no torch for rocm for gfx1151 on {sys.platform}\n" in done.err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('index = "http', 'index = "http://example.com/x http', "begin with https://"),
        ("http://127", "http://user:secret@127", "begin with https://"),
        ("http://127.0.0.1", "https://user:secret@example.com", "no user, password"),
        (f'"{VERSION}"', '"newest"', "newest"),
        ("systems =", "system =", "torch.0.system"),
        ("[[torch]]", "[[torch", "not valid TOML"),
    ],
)
def test_a_table_that_is_wrong_is_named(
    in_process, indexes, stack, monkeypatch, tmp_path, old, new, said
):
    file = tmp_path / "wrong.toml"
    text = TABLE.format(amd=indexes[0].url, version=VERSION)
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    monkeypatch.setenv("ASRBENCH_ACCELERATORS", str(file))
    done = in_process("env", "lock", stack.name, "--stacks", stack)
    assert done.code == 2
    assert str(file) in done.err
    assert said in done.err
    assert "secret" not in done.err


def test_the_table_that_ships_has_a_torch_for_each_system(monkeypatch):
    from orchestrator.environments.torch_builds import torch_build

    monkeypatch.delenv("ASRBENCH_ACCELERATORS", raising=False)
    for system in ("linux", "win32", "darwin"):
        assert torch_build("cpu", None, {}, system).versions["torch"].startswith("2.")
    strix = torch_build("rocm", "gfx1151", {}, "win32")
    assert strix.requirements(["torch", "torchaudio"])[0].startswith("torch[device-gfx1151]===2.")
    assert strix.build_environment == {"ROCM_SDK_TARGET_FAMILY": "gfx1151"}
    assert torch_build("rocm", "gfx906", {}, "linux") is None
    assert torch_build("cuda", None, {}, "darwin") is None


def test_the_table_that_ships_has_an_older_torch_below_the_newest(monkeypatch):
    from orchestrator.environments.torch_builds import torch_build, torch_ranges

    monkeypatch.delenv("ASRBENCH_ACCELERATORS", raising=False)
    older = torch_ranges(["torch==2.6.0", "torchvision<0.22"])
    chosen = {
        (accelerator, system): torch_build(accelerator, None, older, system)
        for accelerator, system in (
            ("cpu", "linux"), ("cpu", "win32"), ("cpu", "darwin"),
            ("cuda", "linux"), ("cuda", "win32"),
        )
    }  # fmt: skip
    assert {way: row.versions["torch"] for way, row in chosen.items()} == {
        ("cpu", "linux"): "2.6.0+cpu", ("cpu", "win32"): "2.6.0", ("cpu", "darwin"): "2.6.0",
        ("cuda", "linux"): "2.6.0+cu126", ("cuda", "win32"): "2.6.0+cu126",
    }  # fmt: skip
    assert torch_build("rocm", "gfx1151", older, "linux") is None
    # half of it is not enough
    assert torch_build("cpu", None, torch_ranges(["torch==2.6.0", "torchvision>=0.28"])) is None


@pytest.mark.long
def test_an_index_that_is_not_reached_hides_no_wheel_of_a_folder(
    in_process, indexes, stack, tmp_path, monkeypatch
):
    """It is asked once, and what lies in --find-links for another Python is found all the same."""
    assert in_process("env", "lock", stack.name, "--stacks", stack).code == 0
    nowhere = "http://127.0.0.1:9/simple"
    cpu = TABLE.partition("[[torch]]\n")[2].partition("[[torch]]\n")[2]
    row = f'[[torch]]\nindex = "{nowhere}"\n{cpu.format()}'
    table = tmp_path / "unreached.toml"
    table.write_text(row, encoding="utf-8")
    monkeypatch.setenv("ASRBENCH_ACCELERATORS", str(table))
    name, content = wheel("torch", "2.14.0")
    links = tmp_path / "wheels for 3.12"
    links.mkdir()
    (links / name.replace("py3-none", "cp312-none")).write_bytes(content)
    monkeypatch.setenv("UV_FIND_LINKS", str(links))
    done = in_process("env", "check", stack.name, "--platforms", "--stacks", stack)
    assert done.code == 0, done.err
    for platform in ("Linux x86-64", "Windows x86-64", "macOS arm64"):
        assert f"{stack.name}: {platform}: Python 3.12\n" in done.out
