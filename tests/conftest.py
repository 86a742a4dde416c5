"""Real envs, real processes, real files: what the tests share."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from trees import LIMIT_S, STEPS, line_of

from orchestrator import platforms

ROOT = Path(__file__).resolve().parent.parent
STACKS = Path(__file__).resolve().parent / "stacks"
SHARED_AUDIO = Path(os.environ.get("ASRBENCH_TEST_AUDIO", ROOT.parent / "shared" / "audio"))

sys.path.insert(0, str(STACKS / "puppet"))
from worker import BEHAVIOURS  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--models", action="store_true", help="tests/models/, with envs of some GB")
    parser.addoption("--long", action="store_true", help="those that take some ten seconds or more")


def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.path.parent.name == "models" and not config.getoption("--models"):
            item.add_marker(pytest.mark.skip(reason="envs of some GB: give --models"))
        if item.get_closest_marker("long") and not config.getoption("--long"):
            item.add_marker(pytest.mark.skip(reason="takes long: give --long"))


def pytest_terminal_summary(terminalreporter):
    """The matrix; here, as with -n a process prints it that knows no test's folder."""
    from matrix.table import outcomes_of, table

    stats = terminalreporter.stats
    found = outcomes_of([*stats.get("passed", []), *stats.get("failed", [])])
    if found:
        terminalreporter.section("fault × phase → outcome")
        for line in table(found):
            terminalreporter.write_line(line)


@dataclass(frozen=True)
class Finished:
    """What a command did."""

    code: int
    out: str
    err: str

    def json(self):
        return json.loads(self.out)


def runs(pid):
    """Whether a process lives; one that is dead but not yet reaped does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stack_toml(
    name,
    models=None,
    *,
    dependencies=("msgpack", "numpy"),
    python=">=3.10,<3.15",
    accelerators=("cpu",),
):
    """A stack's pyproject.toml; models: without options, else one of its own name."""
    lines = [
        "[project]",
        f'name = "{name}"',
        'version = "0"',
        f'requires-python = "{python}"',
        f"dependencies = {json.dumps(dependencies)}",
        "[tool.asrbench]",
        'worker = "worker.py"',
        f"accelerators = {json.dumps(accelerators)}",
        *(f"[tool.asrbench.models.{model}]" for model in (models or [name])),
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """One ASRBENCH_HOME for the session, in a path with a space and a non-ASCII letter."""
    return tmp_path_factory.mktemp("asrbench hömë")


@pytest.fixture(scope="session")
def environment(home):
    """What commands run with: no variable of the developer's own asrbench."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ASRBENCH_")}
    # the developer's own uv cache, so that packages are fetched once and not for each session
    cache = subprocess.run(
        [sys.executable, "-c", "from orchestrator import paths; print(paths.cache_home())"],
        env=kept,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # else each command compiles a hundred modules anew
    kept.setdefault("UV_CACHE_DIR", str(Path(cache) / "uv"))
    kept.setdefault("UV_PYTHON_DOWNLOADS", "never")
    return kept | {"ASRBENCH_HOME": str(home), "PYTHONUTF8": "1", "COLUMNS": "200"}


@pytest.fixture(scope="session")
def asrbench(environment):
    """Run the command line as a person does; 100 s is far more than any test needs."""

    def run(*arguments, cwd=None, env=None, timeout=100, program=("-m", "orchestrator")):
        done = subprocess.run(
            [sys.executable, *program, *map(str, arguments)],
            cwd=cwd or ROOT,
            env=environment | (env or {}),
            capture_output=True,
            encoding="utf-8",
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def in_process(environment, monkeypatch, capsys):
    """As asrbench, but without a process of its own, which takes 0.4 s: for mistakes in plenty."""

    def run(*arguments, env=None):
        from orchestrator import cli

        taken = {name: environment[name] for name in ("ASRBENCH_HOME", "UV_CACHE_DIR", "COLUMNS")}
        for name, value in (taken | (env or {})).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["asrbench", *map(str, arguments)])
        capsys.readouterr()
        before = dict(os.environ)  # --offline and --find-links speak to uv by variables
        try:
            code = cli._exit_code()
        finally:
            os.environ.clear()
            os.environ.update(before)
        return Finished(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def puppet_env(asrbench):
    """The puppet's env, built once."""
    built = asrbench("env", "build", "puppet", "--stacks", STACKS)
    assert built.code == 0, built.err
    return Path(built.out.splitlines()[-1])


def write_clips(root, behaviours, seconds):
    """Clips that tell the puppet what to do."""
    root.mkdir(exist_ok=True)
    for number, behaviour in enumerate(behaviours):
        samples = np.full(round(16_000 * seconds), 0.25, np.float32)
        samples[0] = BEHAVIOURS.index(behaviour) / 100
        name = f"{number:02d}-{behaviour}"
        soundfile.write(root / f"{name}.wav", samples, 16_000, subtype="FLOAT")
        (root / f"{name}.txt").write_text("hello world", encoding="utf-8")
    return root


@pytest.fixture
def clips(tmp_path):
    """Make a folder of clips for the puppet: clips("say", "segfault") → the folder."""

    def make(*behaviours, folder="clips", seconds=0.5):
        return write_clips(tmp_path / folder, behaviours, seconds)

    return make


@pytest.fixture
def run_puppet(asrbench, puppet_env, tmp_path):
    """Run the puppet; returns what the command did, its rows by behaviour, its journal's lines."""

    def go(folder, *arguments, **how):
        results = tmp_path / "results"
        done = asrbench(
            "orchestrate", "--models", "puppet", "--stacks", STACKS, "--snippets", folder,
            "--results", results, "--timeout", "2", *arguments, **how,
        )  # fmt: skip
        assert "Traceback" not in done.err, done.err
        latest = results / "latest"
        with (latest / "results.csv").open(encoding="utf-8", newline="") as file:
            rows = {row["Snippet"].partition("-")[2]: row for row in csv.DictReader(file)}
        lines = (latest / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        return done, rows, [json.loads(line) for line in lines]

    return go


@pytest.fixture(scope="session")
def dev_audio():
    """Real speech, where this machine has it."""
    folder = SHARED_AUDIO / "dev"
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder}; set ASRBENCH_TEST_AUDIO")
    return folder


@pytest.fixture(scope="session")
def hostile_audio():
    """Odd and broken files of other projects' test suites, where this machine has them."""
    folder = SHARED_AUDIO / "hostile"
    if not folder.is_dir():
        pytest.skip(f"no hostile recordings at {folder}; set ASRBENCH_TEST_AUDIO")
    return folder


@pytest.fixture
def start(tmp_path):
    """Start a tree of this source; closed at the end."""
    trees = []

    def go(source):
        command = [sys.executable, "-I", "-c", source]
        trees.append(platforms.spawn(command, dict(os.environ), tmp_path))
        return trees[-1]

    yield go
    for tree in trees:
        tree.close()


@pytest.fixture(params=["with a cgroup", "without a cgroup"])
def cgroup_or_not(request, monkeypatch):
    """Linux both ways; other platforms have one way."""
    if request.param == "without a cgroup":
        if sys.platform != "linux":
            pytest.skip("cgroups are Linux only")
        monkeypatch.setattr(
            "orchestrator.platforms.cgroups.make_cgroup", lambda limit_bytes=None: None
        )
    elif sys.platform == "linux":
        made_cgroup().close()
    return request.param


@pytest.fixture
def stepped(start):
    """Start a tree that stops at each step(); returns a function that lets it do the next one."""

    def begin(source):
        tree = start(STEPS + source)
        assert line_of(tree.stdout) == "ready"

        def go_on():
            tree.write(memoryview(b"\n"), time.monotonic() + LIMIT_S)
            assert line_of(tree.stdout) == "ready"
            return tree

        return tree, go_on

    return begin


def made_cgroup():
    from orchestrator.platforms import cgroups

    made = cgroups.make_cgroup()
    if made is None:
        pytest.skip("this user cannot make a memory cgroup here")
    return made


@pytest.fixture
def ctrl_c_after(monkeypatch):
    """with ctrl_c_after(kind, method, when): Ctrl-C as a call of it is done, which has to end all.

    when(arguments) → whether this call is the one.
    """

    @contextlib.contextmanager
    def strike(kind, method, when=lambda arguments: True):
        real = getattr(kind, method)

        def struck(*arguments, **keywords):
            done = real(*arguments, **keywords)
            if when(arguments):
                signal.raise_signal(signal.SIGINT)
            return done

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(kind, method, struck)
            yield

    return strike


def held():
    """Of this process: descriptors, where they can be counted, children and threads."""
    me = psutil.Process()
    descriptors = None if sys.platform == "win32" else me.num_fds()
    return descriptors, sorted(one.pid for one in me.children()), threading.enumerate()
