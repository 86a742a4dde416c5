"""Running the product, and what a run leaves behind."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

import psutil
from conftest import ROOT, runs

MARK = "WHISPER_MATRIX"  # a worker is given what begins with WHISPER_, and so are its children
LIMIT_S = 120  # none takes a third of it
GONE_S = 20


@dataclass(frozen=True)
class Ended:
    """A run that is over. folder: WHISPER_MATRIX, with the run's results and temporary files."""

    code: int
    out: str
    err: str
    pid: int
    folder: Path

    @property
    def run(self) -> Path:
        return self.folder / "results" / "latest"

    @cached_property
    def rows(self) -> dict[tuple[str, str], dict[str, str]]:
        """By model and snippet."""
        with (self.run / "results.csv").open(encoding="utf-8", newline="") as file:
            return {(row["Model"], row["Snippet"]): row for row in csv.DictReader(file)}

    @cached_property
    def journal(self) -> list[dict[str, object]]:
        """Its lines, without one that is torn."""
        whole = (self.run / "journal.jsonl").read_bytes().rpartition(b"\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def left(self) -> dict[str, object]:
        """All that should not be there any more; empty if there is nothing."""
        held = json.loads((self.folder / "held.json").read_text(encoding="utf-8"))
        kinds = [what.partition(":")[0] for what in held["descriptors"].values()]
        if kinds == ["pipe"]:  # whose end tells the guardian that the controller is gone
            kinds = []
        found = {
            "descriptors": kinds,
            "threads": held["threads"],
            "processes": self._processes(),
            "cgroups": [
                folder
                for folder, _, _ in os.walk("/sys/fs/cgroup")
                if fnmatch(Path(folder).name, f"asrbench-*-{self.pid}-*")
            ],
            "temporary files": [file.name for file in (self.folder / "tmp").iterdir()],
            "half-written files": [str(file) for file in self.run.rglob(".*.[0-9]*")],
            "holder": [str(file) for file in self.run.glob("holder.json")],
        }
        return {what: some for what, some in found.items() if some}

    def _processes(self) -> list[str]:
        limit = time.monotonic() + GONE_S
        while (found := self._alive()) and time.monotonic() < limit:
            time.sleep(0.02)
        return found

    def _alive(self) -> list[str]:
        named = []
        for log in self.run.glob("logs/*.log"):
            with log.open("rb") as file:
                lines = file.read(1 << 16).splitlines()
            named += [int(line[9:-1]) for line in lines if line.startswith(b"[process ")]
        return [f"process {pid}" for pid in named if runs(pid)] + marked(self.folder)


def marked(folder: Path) -> list[str]:
    """Living processes whose environment names the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(folder) and runs(process.pid):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def controller(environment: dict[str, str], folder: Path, worlds: str, *arguments: object):
    """Start asrbench; folder gets all that it writes."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "matrix.controller", str(folder), worlds, *map(str, arguments)],
        cwd=ROOT,
        env=environment
        | {
            MARK: str(folder),
            "TMPDIR": str(folder / "tmp"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )


def end_of(process: subprocess.Popen[str], folder: Path) -> Ended:
    """Wait for it."""
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.communicate(timeout=LIMIT_S)
        raise
    return Ended(process.returncode, out, err, process.pid, folder)


def start(environment: dict[str, str], folder: Path, worlds: str, *arguments: object):
    """Begin `asrbench orchestrate`."""
    results = ["--results", folder / "results"]
    return controller(environment, folder, worlds, "orchestrate", *arguments, *results)


def orchestrate(environment: dict[str, str], folder: Path, worlds: str, *arguments: object):
    """`asrbench orchestrate`, from beginning to end."""
    return end_of(start(environment, folder, worlds, *arguments), folder)
