"""What the matrix shares."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import STACKS

from matrix import stacks
from matrix.batches import BATCHES
from matrix.runs import orchestrate

SIDE_BY_SIDE = 7  # those that hang wait for deadlines; they begin first, and the others work


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    """A folder for all of it, in a path with spaces and letters of other scripts."""
    return tmp_path_factory.mktemp("mätrix of fäults 故障")


@pytest.fixture(scope="session")
def saboteur(asrbench, workshop):
    """The folder of the saboteur's stack, whose env is built."""
    folder = workshop / "stacks"
    stacks.write_saboteur(folder, STACKS / "puppet" / "requirements.lock")
    built = asrbench("env", "build", "saboteur", "--stacks", folder)
    assert built.code == 0, built.err
    stacks.hook_into(Path(built.out.splitlines()[-1]))
    return folder


@pytest.fixture(scope="session")
def lean_lock(asrbench, workshop):
    """The lock of a stack that needs msgpack alone."""
    stack = stacks.write_lean_stack(workshop / "lean", "lean", "")
    locked = asrbench("env", "lock", "lean", "--stacks", stack)
    assert locked.code == 0, locked.err
    return stack / "requirements.lock"


@pytest.fixture(scope="session")
def env_stacks(lean_lock, workshop):
    """The folder of the stacks whose workers do harm when their env is proved."""
    stacks.write_env_stacks(workshop / "env stacks", lean_lock)
    return workshop / "env stacks"


@pytest.fixture(scope="session", autouse=True)
def ended(request, environment, saboteur, env_stacks, workshop):
    """ended(batch) → Ended. All batches that are asked for run side by side, from the beginning."""

    def go(batch):
        folder = workshop / batch.name
        folder.mkdir()
        stacks.write_queue(folder, batch)
        clips = stacks.write_clips(folder / "clips", batch.clips)
        return orchestrate(
            environment, folder, batch.worlds, "--models", ",".join(batch.models),
            "--stacks", saboteur, "--stacks", env_stacks, "--snippets", clips, *batch.options,
        )  # fmt: skip

    asked = {item.callspec.params["batch"].name for item in request.session.items
             if "batch" in getattr(getattr(item, "callspec", None), "params", {})}  # fmt: skip
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        futures: dict[str, Future] = {
            batch.name: pool.submit(go, batch)
            for batch in sorted(BATCHES, key=lambda batch: not batch.cells[0].hangs)
            if batch.name in asked and can_be_run(batch)
        }

        def get(batch):
            if batch.name not in futures:
                pytest.skip("this user cannot make a memory cgroup here")
            return futures[batch.name].result()

        yield get


def can_be_run(batch):
    """Without a cgroup, what has no mark in its environment cannot be found any more."""
    if batch.cells[0].world != "cgroup":
        return True
    from orchestrator.platforms import cgroups

    made = cgroups.make_cgroup()
    if made:
        made.close()
    return made is not None
