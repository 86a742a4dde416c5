"""The models that ship, with tiny checkpoints in the hub's layout, through their own envs.

    python -m pytest --models tests/models

Torch for the CPU comes from PyTorch's index, or by UV_FIND_LINKS from folders that have it; see
scripts/cpu_wheels.py. Envs are built in a home of the session, from the developer's own uv cache.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from conftest import ROOT

from models.files import RATE_HZ
from orchestrator.platforms import venv_python


@pytest.fixture(scope="session")
def checkpoint_of(environment, tmp_path_factory):
    """checkpoint_of(model) → its tiny checkpoint, made once."""
    root = tmp_path_factory.mktemp("tiny chéckpoints")
    made = {}

    def get(model):
        if model not in made:
            done = subprocess.run(
                [sys.executable, ROOT / "scripts" / "make_checkpoints.py", root, model],
                env=environment, capture_output=True, encoding="utf-8", timeout=900,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
            printed = done.stdout.splitlines()[-1]
            made[model] = Path(printed.removeprefix(f"--checkpoint {model}="))
        return made[model]

    return get


@pytest.fixture
def transcribe(asrbench, tmp_path):
    """Run one model over a folder of recordings: its rows by name, its journal, what was said."""

    def run(model, checkpoint, snippets, *arguments, **how):
        results = tmp_path / "results"
        done = asrbench(
            "orchestrate", "--models", model, "--checkpoint", f"{model}={checkpoint}",
            "--snippets", snippets, "--results", results, "--no-warm-up", "--retries", "0",
            *arguments, timeout=600, **how,
        )  # fmt: skip
        assert "Traceback" not in done.err, done.err
        with (results / "latest" / "results.csv").open(encoding="utf-8", newline="") as file:
            rows = {row["Snippet"].rpartition("/")[2]: row for row in csv.DictReader(file)}
        lines = (results / "latest" / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        return done, rows, [json.loads(line) for line in lines]

    return run


@pytest.fixture
def recordings(tmp_path):
    """recordings(name=samples) → a folder with them; nobody says what is said in them."""

    def write(**audios):
        folder = tmp_path / "récordings"
        folder.mkdir(exist_ok=True)
        for name, audio in audios.items():
            soundfile.write(folder / f"{name}.wav", audio, RATE_HZ, subtype="FLOAT")
            (folder / f"{name}.txt").write_text("nobody knows", encoding="utf-8")
        return folder

    return write


@pytest.fixture
def broken(tmp_path):
    """broken(checkpoint, change) → a copy of it to which change(folder) was done."""

    def make(checkpoint, change):
        folder = tmp_path / "broken"
        shutil.copytree(checkpoint, folder)
        change(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def env_of(asrbench):
    """env_of(stack) → its env for the CPU, built if it is not there."""

    def build(stack):
        built = asrbench("env", "build", stack, "--accelerator", "cpu", timeout=900)
        assert built.code == 0, built.err
        return Path(built.out.splitlines()[-1])

    return build


@pytest.fixture
def without(env_of):
    """without(stack, package) hides a package of the stack's env until the test ends."""
    hidden = []

    def hide(stack, name):
        found = env_of(stack).rglob(name)
        (package,) = (one for one in found if one.parent.name == "site-packages")
        hidden.append((package, package.with_name(f"hidden-{name}")))
        package.rename(hidden[-1][1])

    yield hide
    for package, elsewhere in hidden:
        elsewhere.rename(package)


@pytest.fixture
def worker(reference):
    """worker(stack, source, *arguments) → what a script in the env says that imports workers/."""

    def run(stack, source, *arguments):
        return reference(stack, f"import sys; sys.path.append({str(ROOT)!r})\n{source}", *arguments)

    return run


@pytest.fixture
def reference(env_of, tmp_path):
    """reference(stack, source, *arguments) → what a plain script says in the stack's env."""

    def run(stack, source, *arguments):
        script = tmp_path / "reference.py"
        script.write_text(source, encoding="utf-8")
        python = venv_python(env_of(stack))
        done = subprocess.run(
            [python, "-I", "-X", "utf8", script, *arguments],
            capture_output=True, encoding="utf-8", timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
