"""The wheel, installed in an empty virtualenv elsewhere, does the main job."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT
from uv import find_uv_bin


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built by the project's own build backend."""
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(target.glob("*.whl"))


def test_the_wheel_holds_what_runs_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "orchestrator", "schemas", "workers",
    }  # fmt: skip
    assert "orchestrator/bundled/envs/pocketsphinx/requirements.lock" in names
    assert "workers/pocketsphinx.py" in names
    assert "orchestrator/selftest/probe/requirements.lock" in names
    assert sum(name.endswith((".wav", ".flac")) for name in names) >= 12


def test_an_installed_wheel_runs_the_default_job(wheel, environment, tmp_path):
    venv = tmp_path / "an empty venv"
    uv = find_uv_bin()
    subprocess.run([uv, "venv", "-q", "-p", sys.executable, venv], check=True, env=environment)
    scripts = venv / ("Scripts" if os.name == "nt" else "bin")
    subprocess.run(
        [uv, "pip", "install", "-q", "--python", scripts / "python", wheel],
        check=True,
        env=environment,
    )
    clips = tmp_path / "clips"
    clips.mkdir()
    for file in (ROOT / "snippets" / "clean").glob("short-reply.*"):
        (clips / file.name).write_bytes(file.read_bytes())

    def asrbench(*arguments):
        done = subprocess.run(
            [scripts / "asrbench", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=100,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    out = asrbench("orchestrate", "--snippets", str(clips))
    assert Path(out.strip().splitlines()[-1].split(maxsplit=1)[1]).as_posix().startswith("results/")
    text = (tmp_path / "results" / "latest" / "results.csv").read_text(encoding="utf-8")
    assert "i will be there soon" in text
    shipped = asrbench("snippets", "check", str(next(venv.rglob("bundled/snippets"))))
    assert "14 of 14 recordings can be used" in shipped
