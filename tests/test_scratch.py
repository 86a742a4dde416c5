"""A worker's own temporary folder: used for all that is temporary, and gone with the worker."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import ROOT, runs
from trees import LIMIT_S, until

from orchestrator.platforms import venv_python
from orchestrator.supervisor import scratch as scratch_module
from orchestrator.supervisor.channel import WorkerFault
from orchestrator.supervisor.scratch import make_scratch, remove_scratch
from orchestrator.supervisor.spec import WorkerSpec
from orchestrator.supervisor.transcription import Recording
from orchestrator.supervisor.worker import Worker

LITTERS = """
import ctypes, os, tempfile
def load(checkpoint, device):
    tempfile.NamedTemporaryFile(delete=False).write(b"x")
    open("in the working folder", "w").close()
    os.mkdir(os.path.join(tempfile.mkdtemp(), "closed"), 0)
def describe(model):
    return {"cwd": os.getcwd(), "temporary": tempfile.gettempdir(),
            "TEMP": os.environ["TEMP"], "TMP": os.environ["TMP"]}
def transcribe(model, audio):
    ctypes.string_at(0)
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where the controller's temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def litterer(env, folder):
    (folder / "worker.py").write_text(LITTERS, encoding="utf-8")
    spec = WorkerSpec(venv_python(env), env, str(folder / "worker.py"), {}, {}, None, "cpu")
    return Worker(spec, folder / "log.txt")


def test_what_a_worker_left_goes_when_it_died(puppet_env, temporary, tmp_path):
    worker = litterer(puppet_env, tmp_path)
    try:
        worker.load(LIMIT_S)
        (scratch,) = temporary.iterdir()
        assert len(list(scratch.iterdir())) == 3
        places = {Path(place).resolve() for place in worker.load_details.values()}
        assert places == {scratch.resolve()}
        with pytest.raises(WorkerFault):
            audio = np.zeros(1600, np.float32)
            worker.transcribe(Recording("a", iter([audio]), 1600), LIMIT_S, print)
    finally:
        worker.close()
    assert list(temporary.iterdir()) == []


def test_a_worker_that_cannot_be_started_leaves_no_folder(temporary, tmp_path):
    spec = WorkerSpec(tmp_path / "none", tmp_path, "w.py", {}, {}, None, "cpu")
    with pytest.raises(WorkerFault, match="cannot start"):
        Worker(spec, tmp_path / "log.txt")
    assert list(temporary.iterdir()) == []


def test_a_link_leads_to_nothing_that_is_deleted_or_changed(temporary, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("text", encoding="utf-8")
    kept.chmod(0o500)
    scratch = make_scratch()
    try:
        (scratch / "link").symlink_to(kept, target_is_directory=True)
    except OSError:
        pytest.skip("this user may make no links")
    (scratch / "closed").mkdir()
    (scratch / "closed" / "file").touch()
    (scratch / "closed").chmod(0)
    mode = kept.stat().st_mode
    assert remove_scratch(scratch)
    assert not scratch.exists()
    assert kept.stat().st_mode == mode
    assert (kept / "file").read_text(encoding="utf-8") == "text"
    kept.chmod(0o700)


@pytest.mark.skipif(sys.platform != "linux", reason="what cannot be deleted is a mount here")
def test_what_cannot_be_deleted_costs_nothing_and_is_said(puppet_env, temporary, tmp_path):
    worker = litterer(puppet_env, tmp_path)
    (scratch,) = temporary.iterdir()
    busy = scratch / "busy"
    busy.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", busy], capture_output=True)
    if mounted.returncode:
        worker.close()
        pytest.skip("this user may mount nothing")
    try:
        assert worker.close() is None
        assert f"could not delete all of {scratch}" in (tmp_path / "log.txt").read_text("utf-8")
    finally:
        subprocess.run(["umount", busy], check=True)


CONTROLLER = """
import sys, time
from pathlib import Path
from orchestrator.supervisor.spec import WorkerSpec
from orchestrator.supervisor.worker import Worker
python, env, worker, log = map(Path, sys.argv[1:])
worker = Worker(WorkerSpec(python, env, str(worker), {}, {}, None, "cpu"), log)
worker.load(60)
print("loaded", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="there is a guardian on Linux only")
def test_a_killed_controllers_guardian_deletes_it(puppet_env, tmp_path):
    (tmp_path / "worker.py").write_text(LITTERS, encoding="utf-8")
    (tmp_path / "temporary").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", CONTROLLER, venv_python(puppet_env), puppet_env,
         tmp_path / "worker.py", tmp_path / "log.txt"],
        cwd=ROOT, env=os.environ | {"TMPDIR": str(tmp_path / "temporary")},
        stdout=subprocess.PIPE, encoding="utf-8",
    ) as controller:  # fmt: skip
        assert controller.stdout.readline() == "loaded\n"
        assert len(list((tmp_path / "temporary").iterdir())) == 1
        children = [child.pid for child in psutil.Process(controller.pid).children()]
        controller.kill()
    until(lambda: not any(runs(pid) for pid in children))
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="there is a guardian on Linux only")
def test_a_guardian_deletes_no_folder_but_one_of_ours(tmp_path):
    from orchestrator.platforms import guardian

    ours, other = tmp_path / "asrbench-x", tmp_path / "thesis"
    for folder in (ours, other):
        folder.mkdir()
    told = "".join(f"folder {folder}\n" for folder in (other, ours, "asrbench-relative"))
    command = [sys.executable, "-I", "-S", guardian.__file__, "nobody"]
    subprocess.run(command, input=told, encoding="utf-8", cwd=tmp_path, check=True, timeout=60)
    assert list(tmp_path.iterdir()) == [other]


def test_no_folder_stays_if_the_guardian_cannot_be_told(temporary, monkeypatch):
    def refuse(folder):
        raise OSError("no room")

    monkeypatch.setattr(scratch_module, "leave_to_guardian", refuse)
    with pytest.raises(OSError, match="no room"):
        make_scratch()
    assert not list(temporary.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="its paths have a limit")
def test_folders_that_are_too_deep_to_delete_cost_nothing(temporary, monkeypatch):
    """Python's own way to delete them recurses."""
    folder = make_scratch()
    monkeypatch.chdir(folder)
    for _ in range(1500):
        Path("a").mkdir()
        os.chdir("a")
    monkeypatch.chdir(temporary)
    remove_scratch(folder)
    subprocess.run(["rm", "-rf", str(folder)], check=True)  # which does not
