"""Nothing that a worker loads comes from outside its env unseen, and it gets no secret of ours."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from orchestrator.platforms import venv_python
from orchestrator.supervisor.isolation import MAX_NAMED, Expected, judge
from orchestrator.supervisor.spec import WorkerSpec
from orchestrator.supervisor.worker import Worker
from schemas.messages import Origins

LIMIT_S = 60
TOML = """
[project]
name = "closed"
version = "0"
requires-python = ">=3.10"
dependencies = ["msgpack", "numpy"]
[tool.asrbench]
worker = "worker.py"
accelerators = ["cpu"]
[tool.asrbench.models.closed]
[tool.asrbench.models.opens]
options = {{ library = {library} }}
"""
WORKER = """
import ctypes
from . import neighbour
try:
    import strange
except ImportError:
    pass
def load(checkpoint, device, library=None):
    return library and ctypes.CDLL(library)
def transcribe(model, audio):
    return "hello world"
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A folder with a module in it that belongs to no env."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "strange.py").write_text("", encoding="utf-8")
    return folder.resolve()


@pytest.fixture(scope="module")
def stack(tmp_path_factory, elsewhere):
    folder = tmp_path_factory.mktemp("stacks") / "closed"
    folder.mkdir()
    library = json.dumps(str(elsewhere / "libstrange.so"))
    (folder / "pyproject.toml").write_text(TOML.format(library=library), encoding="utf-8")
    (folder / "worker.py").write_text(WORKER, encoding="utf-8")
    (folder / "neighbour.py").write_text("", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def env(asrbench, stack, elsewhere):
    """Its env; a library of it is copied to a strange place."""
    built = asrbench("env", "build", "closed", "--stacks", stack)
    assert built.code == 0, built.err
    folder = Path(built.out.splitlines()[-1])
    [library] = [file for file in folder.rglob("msgpack/_cmsgpack.*") if file.suffix != ".pyx"]
    shutil.copy(library, elsewhere / "libstrange.so")
    return folder


@pytest.fixture
def pth(env, elsewhere):
    """Something wrote a .pth into the env, as an editable install does."""
    [site_packages] = {file.parent for file in env.rglob("numpy") if file.is_dir()} & {
        file.parent for file in env.rglob("msgpack")
    }
    file = site_packages / "added.pth"
    file.write_text(f"{elsewhere}\n", encoding="utf-8")
    yield file
    file.unlink()


def check(asrbench, stack, **environment):
    return asrbench("env", "check", "closed", "--stacks", stack, env=environment)


def test_a_clean_env_is_proved_and_says_what_it_loads(asrbench, stack, env):
    checked = check(asrbench, stack)
    assert checked.code == 0, checked.err
    lines = checked.out.splitlines()
    assert [line.split()[0] for line in lines] == ["closed:", "msgpack", "numpy"]
    assert all(str(env) in line for line in lines)


def test_a_folder_that_a_pth_file_adds_is_named(asrbench, stack, env, elsewhere, pth):
    checked = check(asrbench, stack)
    assert checked.code == 3
    assert f"module strange from {elsewhere / 'strange.py'}" in checked.err
    assert f"import path {elsewhere}" in checked.err


def test_an_env_that_sees_the_systems_packages_is_not_closed(asrbench, stack, env):
    config = env / "pyvenv.cfg"
    before = config.read_text(encoding="utf-8")
    seen = before.replace("= false", "= true")
    assert seen != before
    config.write_text(seen, encoding="utf-8")
    try:
        checked = check(asrbench, stack)
    finally:
        config.write_text(before, encoding="utf-8")
    assert checked.code == 3
    assert "import path" in checked.err
    assert "-packages" in checked.err


def test_a_persons_own_pythonpath_does_not_matter(asrbench, stack, env, elsewhere):
    folders = os.pathsep.join([str(elsewhere), str(ROOT)])
    checked = check(asrbench, stack, PYTHONPATH=folders, LD_LIBRARY_PATH=folders)
    assert checked.code == 0, checked.err


def test_a_persons_own_link_mode_does_not_make_the_cache_a_part_of_the_env(asrbench, stack, env):
    mode = {"UV_LINK_MODE": "symlink"}
    rebuilt = asrbench("env", "rebuild", "closed", "--stacks", stack, env=mode)
    assert rebuilt.code == 0, rebuilt.err
    assert not [file for file in env.rglob("msgpack/*") if file.is_symlink()]


def run(asrbench, stack, model, clips, folder):
    done = asrbench(
        "orchestrate", "--models", model, "--stacks", stack, "--snippets", clips("say", "say"),
        "--results", folder, "--quiet",
    )  # fmt: skip
    assert done.code == 0, done.err
    [results] = [file for file in folder.glob("*/results.csv") if file.parent.name != "latest"]
    with results.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = (results.parent / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    attempts = [line for line in map(json.loads, lines) if line["kind"] == "attempt"]
    return rows, attempts


def test_a_library_from_a_strange_place_flags_every_row(
    asrbench, stack, env, elsewhere, clips, tmp_path
):
    rows, attempts = run(asrbench, stack, "opens", clips, tmp_path / "r")
    leak = f"library {elsewhere / 'libstrange.so'}"
    assert [row["Notes"] for row in rows] == [f"not from its env: {leak}"] * 2
    assert {tuple(attempt["isolation"]["leaks"]) for attempt in attempts} == {(leak,)}


def test_a_run_in_a_clean_env_has_no_flag(asrbench, stack, env, clips, tmp_path):
    rows, attempts = run(asrbench, stack, "closed", clips, tmp_path / "r")
    assert [row["Notes"] for row in rows] == ["", ""]
    assert all(attempt["isolation"]["leaks"] == [] for attempt in attempts)


def test_the_stack_that_ships_is_closed(asrbench):
    built = asrbench("env", "build", "pocketsphinx", timeout=300)
    assert built.code == 0, built.err
    checked = asrbench("env", "check", "pocketsphinx")
    assert checked.code == 0, checked.err
    assert "pocketsphinx 5." in checked.out


@pytest.fixture
def worker(puppet_env, tmp_path):
    """Start a worker of this source in the puppet's env."""
    started = []

    def go(source, **more):
        file = tmp_path / "worker.py"
        file.write_text(source, encoding="utf-8")
        spec = WorkerSpec(
            venv_python(puppet_env), puppet_env, str(file), {}, {}, None, "cpu", **more
        )
        started.append(Worker(spec, tmp_path / "log.txt"))
        started[-1].load(LIMIT_S)
        return started[-1]

    yield go
    for one in started:
        one.close()


# what transformers does with trust_remote_code, in its init_hf_modules() and get_class_in_module()
REMOTE = """
import importlib.util, sys
def load(checkpoint, device):
    sys.path.append({folder!r})
    file = {folder!r} + "/transformers_modules/owner/modeling.py"
    spec = importlib.util.spec_from_file_location("transformers_modules.owner.modeling", file)
    sys.modules[spec.name] = importlib.util.module_from_spec(spec)
def transcribe(model, audio):
    return ""
"""


@pytest.mark.parametrize("declared", [True, False])
def test_code_of_a_checkpoint_is_found_out_unless_it_is_declared(
    worker, tmp_path_factory, declared
):
    folder = tmp_path_factory.mktemp("modules").resolve()
    package = folder / "transformers_modules"
    (package / "owner").mkdir(parents=True)
    for file in ("__init__.py", "owner/__init__.py", "owner/modeling.py"):
        (package / file).write_text("", encoding="utf-8")
    isolation = worker(REMOTE.format(folder=str(folder)), remote_code=declared).trace(LIMIT_S)
    if declared:
        assert isolation.leaks == ()
    else:
        code, path = isolation.leaks
        assert code.startswith(f"module transformers_modules from {package / 'owner'}")
        assert "does not say remote_code = true" in code
        assert path == f"import path {folder}"


BREAKS = """
import sys
def load(checkpoint, device):
    sys.path = None
def transcribe(model, audio):
    return "still here"
"""


def test_a_worker_that_cannot_be_traced_is_flagged_and_goes_on(worker):
    started = worker(BREAKS)
    [leak] = started.trace(LIMIT_S).leaks
    assert leak.startswith("unknown: TypeError")
    assert started.isolation.leaks == (leak,)
    started.check_idle()


def test_a_flood_of_strange_modules_stays_short():
    modules = {f"m{number}.sub": f"/x/{'y' * 900}{number}.py" for number in range(1_000)}
    found = judge(Origins({}, modules, [], []), Expected("pocketsphinx"), "none")
    assert len(found.leaks) == MAX_NAMED + 1
    assert found.leaks[-1] == f"and {1_000 - MAX_NAMED} more"
    assert max(map(len, found.leaks)) <= 500


@pytest.mark.skipif(sys.platform != "linux", reason="paths of Linux")
@pytest.mark.parametrize(
    ("library", "leaks", "given"),
    [
        ("/usr/lib/x86_64-linux-gnu/libcuda.so.1", 0, 0),
        ("/usr/lib/wsl/lib/libdxcore.so", 0, 0),
        ("/usr/local/lib/libsndfile.so", 0, 1),
        ("/usr/lib/python3/dist-packages/numpy/_core.so", 1, 0),
        ("/home/someone/lib/libfoo.so", 1, 0),
    ],
)
def test_a_systems_own_libraries_are_told_from_others(library, leaks, given):
    found = judge(Origins({}, {}, [], [library]), Expected("pocketsphinx"), "none")
    assert (len(found.leaks), len(found.system_libraries)) == (leaks, given)


SHOWS = """
import json, os
def load(checkpoint, device):
    return 1
def describe(model):
    return {"environment": json.dumps(dict(os.environ))}
def transcribe(model, audio):
    return ""
"""
SECRETS = (
    "HF_TOKEN HUGGING_FACE_HUB_TOKEN NVIDIA_API_KEY TORCH_SECRET_X GGML_PASSWORD ORT_PASSWD "
    "AWS_SECRET_ACCESS_KEY AWS_ACCESS_KEY_ID GOOGLE_APPLICATION_CREDENTIALS CUDA_LICENSE_KEY "
    "AMD_APIKEY MKL_CREDENTIALS WHISPER_AUTH HIP_PRIVATE_KEY SSH_AUTH_SOCK GITHUB_TOKEN "
    "HTTPS_PROXY HF_ENDPOINT DATABASE_URL XDG_RUNTIME_DIR DBUS_SESSION_BUS_ADDRESS"
).split()


def test_a_worker_sees_no_secret_in_its_environment(worker, monkeypatch):
    for name in SECRETS:
        monkeypatch.setenv(name, "leak")
    monkeypatch.setenv("TORCH_MIRROR", "https://user:leak@example.org/simple")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    started = worker(SHOWS)
    seen = json.loads(started.load_details["environment"])
    assert not any("leak" in value for value in seen.values())
    assert not set(SECRETS) & set(seen)
    assert seen["CUDA_VISIBLE_DEVICES"] == "0"
    assert (seen["HF_HUB_OFFLINE"], seen["HF_TOKEN_PATH"]) == ("1", os.devnull)
