"""What a power cut or a kill at a bad moment leaves behind can be gone on with."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import ROOT, STACKS

from orchestrator.files import write_whole
from orchestrator.journal import Journal


@pytest.fixture
def synced(monkeypatch):
    """Collect (inode, what look() sees) at each fsync, which is done all the same."""

    def watch(look):
        seen = []

        def spy(descriptor):
            real(descriptor)
            seen.append((os.fstat(descriptor).st_ino, look()))

        monkeypatch.setattr(os, "fsync", spy)
        return seen

    real = os.fsync
    return watch


@pytest.mark.skipif(sys.platform == "win32", reason="Windows opens no folders")
def test_a_file_is_on_disk_before_its_name_and_its_name_before_we_go_on(tmp_path, synced):
    file = tmp_path / "run.json"
    file.write_text("old", encoding="utf-8")
    seen = synced(lambda: {one.read_text(encoding="utf-8") for one in tmp_path.iterdir()})
    write_whole(file, "new")
    (_, before), (folder, after) = seen
    assert before == {"old", "new"}
    assert (folder, after) == (tmp_path.stat().st_ino, {"new"})


@pytest.mark.skipif(sys.platform == "win32", reason="Windows opens no folders")
def test_a_fresh_journals_name_is_on_disk(tmp_path, synced):
    seen = synced(lambda: [one.name for one in tmp_path.iterdir()])
    Journal(tmp_path / "journal.jsonl").close()
    assert seen == [(tmp_path.stat().st_ino, ["journal.jsonl"])]


@pytest.mark.parametrize("content", ["", "[]", "null", '"options"', "{}", '{"options": []}'])
def test_a_run_record_that_is_damaged_is_said(in_process, tmp_path, content):
    folder = tmp_path / "r" / "old"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(content, encoding="utf-8")
    done = in_process("orchestrate", "--resume", "old", "--results", tmp_path / "r")
    assert done.code == 2
    assert done.err.startswith(f"error: {folder / 'run.json'} cannot be read: ")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX file-size limit")
def test_latest_names_a_run_only_when_it_can_be_resumed(
    asrbench, environment, puppet_env, clips, tmp_path
):
    """The second run ends before its run.json is there: the system lets no file grow so large."""
    import resource

    arguments = ["--models", "puppet", "--stacks", STACKS, "--snippets", clips("say")]
    results = tmp_path / "r"
    assert asrbench("orchestrate", *arguments, "--results", results).code == 0
    first = (results / "latest").resolve()
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "orchestrate", *arguments, "--results", results],
        cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=100,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200)),
    )  # fmt: skip
    assert done.returncode == 2
    assert "run.json" in done.stderr
    assert len([one for one in results.iterdir() if one.name != "latest"]) == 2
    assert (results / "latest").resolve() == first
    assert asrbench("orchestrate", "--resume", "latest", "--results", results).code == 0
