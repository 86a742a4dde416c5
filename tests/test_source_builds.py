"""Packages that a stack has compiled for one accelerator, from their locked sources."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import stack_toml
from package_index import Server, sdist, wheel

from orchestrator import platforms
from orchestrator.environments.causes import likely_cause

WORKER = """
import colour
def load(checkpoint, device):
    return colour.COLOUR
def transcribe(model, audio):
    return model
"""
SETUP = """
import os, sys
from setuptools import setup
if os.environ.get("COLOUR_FAILS"):
    sys.exit(os.environ["COLOUR_FAILS"])
with open("colour.py", "w", encoding="utf-8") as file:
    file.write("COLOUR = %r" % os.environ.get("COLOUR", "none"))
setup(name="colour", version="1.0", py_modules=["colour"])
"""


@pytest.fixture(scope="module")
def index():
    """It has the package twice: built, and as sources."""
    server = Server()
    index = server.index("colours")
    index.add(wheel("colour", "1.0", modules={"colour.py": "COLOUR = 'as it ships'"}))
    index.add(sdist("colour", "1.0", SETUP))
    yield index
    server.close()


@pytest.fixture
def stack(tmp_path):
    """Write the stack anew: stack(COLOUR="red") compiles it by that, stack() takes it built."""

    def write(**environment):
        folder = tmp_path / "painted"
        folder.mkdir(exist_ok=True)
        text = stack_toml("painted", dependencies=("msgpack", "numpy", "colour"))
        if environment:
            pairs = ", ".join(f"{key} = {json.dumps(value)}" for key, value in environment.items())
            text += '[tool.asrbench.source_builds.cpu]\npackages = ["colour"]\n'
            text += f"environment = {{ {pairs} }}\n"
        (folder / "pyproject.toml").write_text(text, encoding="utf-8")
        (folder / "worker.py").write_text(WORKER, encoding="utf-8")
        return folder

    return write


@pytest.fixture
def build(asrbench, index):
    """Build it; returns what the command did."""

    def run(folder, **variables):
        return asrbench(
            "env", "build", "painted", "--stacks", folder,
            env={"UV_INDEX": index.url, **variables},
        )  # fmt: skip

    return run


def colour_in(done):
    assert done.code == 0, done.err
    return colour_of(Path(done.out.splitlines()[-1]))


def colour_of(env):
    python = platforms.venv_python(env)
    command = [str(python), "-I", "-c", "import colour; print(colour.COLOUR)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.long
def test_each_way_to_compile_has_an_env_of_its_own_and_none_gets_what_another_left_in_the_cache(
    stack, build, tmp_path
):
    cache = {"UV_CACHE_DIR": str(tmp_path / "cache")}
    assert colour_in(build(stack(), **cache)) == "as it ships"
    red = build(stack(COLOUR="red"), **cache)
    assert colour_in(red) == "red"
    assert colour_in(build(stack(COLOUR="blue"), **cache)) == "blue"
    assert colour_in(red) == "red"  # its env is still there, and the same
    assert colour_in(build(stack(), **cache)) == "as it ships"


FOR_GPUS = """
import sys
from pathlib import Path
from orchestrator.accelerators import Way
from orchestrator.environments.build import ensure_env
from orchestrator.environments.inventory import unneeded
from orchestrator.stacks import load_stacks
stack = load_stacks([Path(sys.argv[1])])["painted"]
for target in ("gfx1101", "gfx1151", None, "gfx1101"):
    print(ensure_env(stack, Way("rocm", target), lambda said: None).folder)
print(len(unneeded()))
"""


@pytest.mark.long
def test_what_is_compiled_for_a_gpu_is_compiled_anew_for_another(
    stack, index, environment, tmp_path
):
    folder = stack(COLOUR="{target}")
    file = folder / "pyproject.toml"
    text = file.read_text(encoding="utf-8").replace("source_builds.cpu", "source_builds.rocm")
    file.write_text(text.replace('accelerators = ["cpu"]', 'accelerators = ["rocm"]'), "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", FOR_GPUS, folder], encoding="utf-8", capture_output=True,
        env=environment | {"UV_INDEX": index.url, "ASRBENCH_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *envs, unneeded = done.stdout.splitlines()
    assert [colour_of(Path(env)) for env in envs] == ["gfx1101", "gfx1151", "none", "gfx1101"]
    assert unneeded == "0"


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("Could NOT find Vulkan (missing: glslc) (found version 1.3.239)", "needs the Vulkan SDK"),
        ('configuration file provided by\n  "SPIRV-Headers" with', "needs the Vulkan SDK"),
        ("error: ‘LayerSettingEXT’ is not a member of ‘vk’", "headers of Vulkan are too old"),
        ("Failed to find HIP root directory.", "needs HIP's compiler, hipBLAS and rocBLAS"),
        ('configuration file provided by\n  "hipblas" with', "needs HIP's compiler"),
        ("At least ROCM/HIP V6.1 is required", "6.1 or newer"),
        ("No CMAKE_CXX_COMPILER could be found.", "a C++ compiler or cmake is missing"),
        ("something else", "is a compiler missing?"),
    ],
)
def test_what_is_missing_is_named(said, cause):
    assert cause in (likely_cause(f"error: Failed to build `colour==1.0`\n{said}") or "")


def test_a_build_that_fails_names_what_is_missing(stack, build):
    done = build(stack(COLOUR_FAILS="Could NOT find Vulkan (missing: glslc)"))
    assert done.code == 3, done.out
    (line,) = (line for line in done.err.splitlines() if "likely cause: " in line)
    assert "needs the Vulkan SDK" in line


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("[tool.asrbench.source_builds.vulkan]\npackages = ['colour']", "not in tool.asrbench.acc"),
        ("[tool.asrbench.source_builds.cpu]\npackages = []", "at least 1 item"),
        ("[tool.asrbench.source_builds.cpu]\npackage = ['colour']", "known here: packages, env"),
        (
            "[tool.asrbench.source_builds.cpu]\npackages = ['colour']\n"
            "environment = { UV_NO_VERIFY_HASHES = '1' }",
            "UV_NO_VERIFY_HASHES would change what is installed",
        ),
        (
            "[tool.asrbench.source_builds.cpu]\npackages = ['colour', 'shade']",
            "names 'shade', which the stack does not need",
        ),
    ],
)
def test_a_source_build_that_cannot_be_meant_is_refused(stack, build, written, words):
    file = stack() / "pyproject.toml"
    file.write_text(file.read_text(encoding="utf-8") + written + "\n", encoding="utf-8")
    done = build(file.parent)
    assert done.code == 2, done.err
    assert words in done.err
    assert "Traceback" not in done.err
