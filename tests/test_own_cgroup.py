"""A place of our own for workers' cgroups of version 2, in folders written out as the kernel's."""

from __future__ import annotations

import os
import sys

import pytest

if sys.platform != "linux":
    pytest.skip("cgroups are Linux only", allow_module_level=True)

from orchestrator.platforms import own_cgroup

ME = os.getpid()


@pytest.fixture
def cgroup(tmp_path):
    """Make a cgroup with these members and controllers."""

    def make(members=(ME,), controllers="cpu memory pids"):
        folder = tmp_path / "our.scope"
        folder.mkdir()
        (folder / "cgroup.controllers").write_text(controllers + "\n", encoding="ascii")
        members = "".join(f"{pid}\n" for pid in members)
        (folder / "cgroup.procs").write_text(members, encoding="ascii")
        (folder / "cgroup.subtree_control").write_text("\n", encoding="ascii")
        return folder

    return make


def test_whoever_is_alone_moves_into_a_leaf_and_shares_memory_out(cgroup):
    folder = cgroup()
    assert own_cgroup.share_out_memory(folder, ME)
    leaf = folder / own_cgroup.LEAF
    assert (leaf / "cgroup.procs").read_text(encoding="ascii") == str(ME)
    assert (folder / "cgroup.subtree_control").read_text(encoding="ascii") == "+memory"


@pytest.mark.parametrize(
    "wrong", [{"members": (ME, 1)}, {"members": ()}, {"controllers": "cpu pids"}]
)
def test_a_cgroup_that_others_use_or_that_lacks_memory_is_left_alone(cgroup, wrong):
    folder = cgroup(**wrong)
    assert not own_cgroup.share_out_memory(folder, ME)
    assert not (folder / own_cgroup.LEAF).exists()
    assert (folder / "cgroup.subtree_control").read_text(encoding="ascii") == "\n"


def test_what_systemd_did_not_give_is_not_shared_out(cgroup, tmp_path):
    folder, systemd = cgroup(), tmp_path / "run"
    assert own_cgroup.is_delegated(folder, systemd)  # no systemd, as in a container
    systemd.mkdir()
    assert not own_cgroup.is_delegated(folder, systemd)
    try:
        os.setxattr(folder, own_cgroup.DELEGATED[0], b"1")
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error}")
    assert own_cgroup.is_delegated(folder, systemd)
