"""A stdout that takes nothing: no traceback, no lost work, one line where somebody has to know."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, STACKS, write_clips

FULL = Path("/dev/full")
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="closes descriptors of a child")
LINUX = pytest.mark.skipif(not FULL.exists(), reason="Linux has a device that is full")
WORLDS = [
    pytest.param("full", marks=LINUX),
    pytest.param("closed", marks=POSIX),
    "unread",
]
COMMANDS = [
    "--help",
    "models list --stacks STACKS",
    "models list --stacks STACKS --json",
    "env list --stacks STACKS",
    "env build puppet --stacks STACKS",
    "env check puppet --stacks STACKS",
    "report RUN",
    "report RUN --json",
    "replay RUN puppet",
    "replay RUN puppet --json",
    "snippets check CLIPS",
]
# all commands write to the same stream
TRIED = [
    *(pytest.param(command, "full", marks=LINUX) for command in COMMANDS),
    *(pytest.param(command, "closed", marks=POSIX) for command in COMMANDS[1::4]),
    *((command, "unread") for command in COMMANDS[2::4]),
]


@pytest.fixture
def run_in(environment):
    """Run a command whose stdout is full, closed, or read by nobody: its exit code and stderr."""

    def run(world, *arguments, stderr=subprocess.PIPE, program=("-m", "orchestrator"), **variables):
        reading, writing = os.pipe()
        os.close(reading)
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, writing)
            stdout = stack.enter_context(FULL.open("wb")) if world == "full" else writing
            done = subprocess.run(
                [sys.executable, *program, *map(str, arguments)],
                cwd=ROOT,
                env=environment | variables,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                encoding="utf-8",
                timeout=300,
                preexec_fn=_close_stdout if world == "closed" else None,
            )
        return done.returncode, done.stderr

    return run


def _close_stdout():
    os.close(1)


@pytest.fixture(scope="module")
def places(asrbench, puppet_env, tmp_path_factory):
    """A run, its clips and its stacks, by the names that COMMANDS has for them."""
    folder = tmp_path_factory.mktemp("output")
    clips = write_clips(folder / "clips", ["say"], seconds=0.5)
    asrbench(
        "orchestrate", "--models", "puppet", "--stacks", STACKS, "--snippets", clips,
        "--results", folder / "r",
    )  # fmt: skip
    run = (folder / "r" / "latest").resolve()
    return {"RUN": str(run), "CLIPS": str(clips), "STACKS": str(STACKS)}


@pytest.mark.parametrize(("command", "world"), TRIED)
def test_a_command_says_that_its_output_is_lost_where_somebody_wanted_it(
    run_in, places, command, world
):
    code, err = run_in(world, *(places.get(word, word) for word in command.split()))
    lines = [line for line in err.splitlines() if not line.startswith("[")]
    if world == "unread":
        assert (code, lines) == (0, [])
        return
    (error,) = lines
    why = {"full": "No space left on device", "closed": "it is closed"}[world]
    assert error.startswith(f"error: cannot write to stdout: {why}")
    assert code == 1
    if command.startswith(("report", "replay")):
        assert Path(error.partition("; see ")[2]).exists()


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("how", [[], ["--json"]], ids=" ".join)
def test_a_report_is_on_disk_whatever_becomes_of_its_table(run_in, places, world, how):
    results = Path(places["RUN"], "results.csv")
    results.unlink()
    run_in(world, "report", places["RUN"], *how)
    assert results.is_file()


@pytest.mark.parametrize("world", WORLDS)
def test_an_env_is_built_although_nobody_can_read_of_it(run_in, puppet_env, tmp_path, world):
    home = str(tmp_path / "home")
    run_in(world, "env", "rebuild", "puppet", "--stacks", STACKS, ASRBENCH_HOME=home)
    (marker,) = tmp_path.glob("home/envs/puppet-*/asrbench-env.json")
    assert marker.is_file()


@pytest.mark.parametrize("world", WORLDS)
def test_a_run_ends_as_it_would_and_says_where_its_results_are(run_in, places, tmp_path, world):
    code, err = run_in(
        world, "orchestrate", "--models", "puppet", "--stacks", STACKS, "--snippets",
        places["CLIPS"], "--results", tmp_path / "r", "--quiet",
    )  # fmt: skip
    results = (tmp_path / "r" / "latest").resolve() / "results.csv"
    assert results.is_file()
    assert code == (0 if world == "unread" else 1)
    assert err == "" if world == "unread" else err.endswith(f"; see {results}\n")


SHORT_SELFTEST = """
from orchestrator.selftest import run
run.FOOTPRINTS, run.DEATHS = run.FOOTPRINTS[:1], run.DEATHS[:1]
from orchestrator.cli import main
main()
"""


@LINUX
def test_a_self_test_is_kept_although_its_tables_are_lost(run_in, tmp_path):
    home = tmp_path / "home"
    code, err = run_in(
        "full", "selftest", "--size", "64", program=("-c", SHORT_SELFTEST), ASRBENCH_HOME=str(home)
    )
    kept = home / "cache" / "selftest.json"
    assert kept.is_file()
    assert code == 1
    assert err.endswith(f"error: cannot write to stdout: No space left on device; see {kept}\n")
    assert "Traceback" not in err


@LINUX
def test_a_full_stderr_breaks_no_command_off(run_in, places):
    with FULL.open("wb") as full:
        code, _ = run_in("unread", "replay", places["RUN"], "puppet", stderr=full)
    assert code == 0


@POSIX
def test_help_is_as_wide_as_the_terminal(environment):
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 140, 0, 0))
    command = [sys.executable, "-m", "orchestrator", "orchestrate", "--help"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=theirs) as process:
        os.close(theirs)
        shown = bytearray()
        with contextlib.suppress(OSError):  # how Linux says that nobody writes any more
            while chunk := os.read(ours, 1 << 16):
                shown += chunk
    os.close(ours)
    assert process.returncode == 0
    assert 80 < max(map(len, shown.decode().splitlines())) <= 100
