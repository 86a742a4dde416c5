"""The sampler, over captured trees that change under it and files that hang or fail."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from device_trees import add_process, amdgpu, write
from trees import LIMIT_S, until

from orchestrator.platforms import devices
from orchestrator.platforms.devices import DeviceSampler, EnergyMeter
from orchestrator.platforms.devices.clients import Others
from orchestrator.platforms.devices.driver_thread import DriverThread
from orchestrator.platforms.devices.drm import DrmFdinfo
from orchestrator.platforms.devices.kfd import Kfd
from schemas.records import DeviceMemory

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
posix_only = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a named pipe is what hangs")

APU = "0000:c5:00.0"


def threads():
    return [thread.name for thread in threading.enumerate()]


@pytest.fixture
def sample(tmp_path):
    """A sampler of processes 70 and 71 in tmp_path; closed at the end."""
    made = []

    def go(*sources, pids=lambda: [70, 71]):
        made.append(DeviceSampler(pids, sources or [DrmFdinfo(tmp_path)]))
        return made[-1]

    yield go
    for sampler in made:
        sampler.close()


def hold(proc, kib):
    (proc / "70" / "fdinfo" / "10").write_text(amdgpu(5, kib), encoding="ascii")


def kib_of(peaks):
    return [peak.peak_bytes // 1024 for peak in peaks]


def test_a_peak_is_kept_until_the_next_attempt(tmp_path, sample):
    add_process(tmp_path, 70, amdgpu(5, 100))
    sampler = sample()
    expected = DeviceMemory(device=APU, peak_bytes=100 * 1024, method="drm-fdinfo-250ms")
    assert sampler.peaks() == (expected,)
    hold(tmp_path, 900)
    assert kib_of(sampler.peaks()) == [900]
    hold(tmp_path, 30)
    assert kib_of(sampler.peaks()) == [900]
    sampler.reset()
    assert kib_of(sampler.peaks()) == [30]
    assert sampler.problem() is None


def test_it_looks_by_itself_between_two_questions(tmp_path, sample):
    add_process(tmp_path, 70, amdgpu(5, 100))
    looks = []
    sampler = sample(pids=lambda: looks.append(1) or [70])
    until(lambda: len(looks) >= 2)
    hold(tmp_path, 900)
    so_far = len(looks)
    until(lambda: len(looks) >= so_far + 2)  # one of them began after the change
    hold(tmp_path, 0)
    assert kib_of(sampler.peaks()) == [900]


def test_a_tree_that_has_ended_leaves_its_peak(tmp_path, sample):
    add_process(tmp_path, 70, amdgpu(5, 100))
    alive = [70]
    sampler = sample(pids=lambda: list(alive))
    assert kib_of(sampler.peaks()) == [100]
    alive.clear()
    assert kib_of(sampler.peaks()) == [100]
    sampler.reset()
    assert sampler.peaks() == ()
    assert sampler.problem() is None


def test_a_source_that_fails_is_said_and_costs_the_others_nothing(tmp_path, sample):
    add_process(tmp_path, 70, amdgpu(5, 100))
    add_process(tmp_path, 90, amdgpu(6, 40))
    fails = Kfd(tmp_path / "no proc here", tmp_path)
    sampler = sample(fails, DrmFdinfo(tmp_path))
    assert kib_of(sampler.peaks()) == [100]
    assert sampler.problem().startswith("device memory: kfd: ")
    sampler.reset()
    assert sampler.problem() is None


def test_no_driver_is_asked_about_a_tree_that_has_ended(tmp_path, sample):
    sampler = sample(Kfd(tmp_path / "no proc here", tmp_path), pids=list)
    assert sampler.peaks() == ()
    assert sampler.problem() is None


def test_a_tree_that_cannot_be_listed_is_said(sample):
    def pids():
        raise ProcessLookupError("the cgroup is gone")

    sampler = sample(pids=pids)
    assert sampler.peaks() == ()
    assert sampler.problem() == "device memory: process tree: the cgroup is gone"


def test_others_are_seen(tmp_path, sample):
    add_process(tmp_path, 70, amdgpu(5, 100))
    add_process(tmp_path, 90, amdgpu(6, 40))
    assert sample().others() == {APU: Others(1, 40 * 1024, "drm-fdinfo")}


@posix_only
def test_a_look_that_hangs_holds_nobody_up_and_is_said(tmp_path, sample):
    add_process(tmp_path, 70, amdgpu(5, 100))
    sampler = sample()
    assert kib_of(sampler.peaks()) == [100]
    hangs = tmp_path / "70" / "fdinfo" / "10"
    hangs.unlink()
    os.mkfifo(hangs)  # whoever opens it waits for a writer
    assert kib_of(sampler.peaks()) == [100]
    assert sampler.problem() == "device memory: no answer within 2 s"
    assert kib_of(sampler.peaks()) == [100]
    assert sampler.problem() == "device memory: still no answer"
    assert sampler.others() == {}
    with hangs.open("wb") as writer:  # the driver comes back
        writer.write(amdgpu(5, 700).encode())
    hangs.unlink()
    hold(tmp_path, 700)
    until(lambda: kib_of(sampler.peaks()) == [700])


@posix_only
def test_a_program_ends_although_a_look_hangs(tmp_path):
    add_process(tmp_path, 70)
    (tmp_path / "70" / "fd" / "10").symlink_to("/dev/dri/renderD128")
    os.mkfifo(tmp_path / "70" / "fdinfo" / "10")
    source = (
        "from pathlib import Path\n"
        "from orchestrator.platforms.devices import DeviceSampler, driver_thread, sampler\n"
        "from orchestrator.platforms.devices.drm import DrmFdinfo\n"
        "sampler.LOOK_WAIT_S = driver_thread.CLOSE_WAIT_S = 0.3  # it hangs for ever\n"
        f"sampler = DeviceSampler(lambda: [70], [DrmFdinfo(Path({str(tmp_path)!r}))])\n"
        "print(sampler.peaks())\n"
        "sampler.close()\n"
    )
    command = [sys.executable, "-c", source]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=LIMIT_S)
    assert (done.stdout, done.stderr) == ("()\n", "")


def test_closing_ends_the_thread(tmp_path):
    add_process(tmp_path, 70, amdgpu(5, 100))
    sampler = DeviceSampler(lambda: [70], [DrmFdinfo(tmp_path)])
    assert threads().count("device sampler") == 1
    sampler.close()
    assert "device sampler" not in threads()


def test_what_a_call_raises_is_the_askers():
    thread = DriverThread("asked", None, None)

    def fail():
        raise TimeoutError("the call's own")

    with pytest.raises(TimeoutError, match="the call's own"):
        thread.ask(fail, LIMIT_S)
    assert thread.ask(lambda: 7, LIMIT_S) == 7  # it was no hang
    thread.close(lambda: None)
    assert "asked" not in threads()


def test_without_a_device_there_is_no_thread_and_no_number(tmp_path):
    sources, counters = (), ()
    if sys.platform == "linux":
        from orchestrator.platforms.devices.on_linux import device_sources, energy_counters

        (tmp_path / "dev").mkdir()
        (tmp_path / "proc").mkdir()
        sources, counters = device_sources(tmp_path), energy_counters(tmp_path)
        assert (sources, counters) == ((), ())
    before = threads()
    sampler, meter = DeviceSampler(lambda: [os.getpid()], sources), EnergyMeter(counters)
    assert threads() == before
    sampler.reset()
    assert (sampler.peaks(), sampler.others(), sampler.problem()) == ((), {}, None)
    assert (meter.read(), meter.problem()) == ({}, None)
    sampler.close()
    meter.close()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_sources_are_those_whose_driver_is_loaded(tmp_path):
    from orchestrator.platforms.devices.on_linux import device_sources, energy_counters

    write(tmp_path / "dev" / "dri", renderD128="")
    assert [source.method for source in device_sources(tmp_path)] == ["drm-fdinfo"]
    (tmp_path / "sys" / "class" / "kfd" / "kfd" / "proc").mkdir(parents=True)
    write(tmp_path / "dev", nvidiactl="")
    assert [source.method for source in device_sources(tmp_path)] == ["drm-fdinfo", "kfd", "nvml"]
    assert len(energy_counters(tmp_path)) == 1


def test_this_process_holds_no_device_memory_on_this_machine():
    """The real thing: all of this machine's sources look at this process."""
    before, sources = threads(), devices.device_sources()
    sampler = DeviceSampler(lambda: [os.getpid()], sources)
    assert (threads() == before) is (sources == ())
    assert sampler.peaks() == ()
    sampler.close()


def test_an_import_costs_no_driver():
    source = "import sys, orchestrator.platforms; print('pynvml' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, encoding="utf-8", timeout=LIMIT_S
    )
    assert done.stdout == "False\n", done.stderr
