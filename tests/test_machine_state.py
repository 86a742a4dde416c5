"""Linux: the machine's state read from captured trees of /proc and /sys, and what is made of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from dataclasses import asdict, replace

import pytest

if sys.platform != "linux":
    pytest.skip("reads /proc and /sys", allow_module_level=True)

from orchestrator.interference import disturbances
from orchestrator.platforms.linux_state import MachineWatch
from orchestrator.platforms.machine_state import MachineState

CPUS = sorted(os.sched_getaffinity(0))  # the captured machine has those that we may use
WALL_S = 10
CPU = "sys/devices/system/cpu"
SUPPLY = "sys/class/power_supply"


def stat(user=1000, system=500, steal=7):
    """/proc/stat: ticks of the first CPU; the others, and one that is not ours, do not move."""
    line = "cpu{0} {1} 20 {2} 90000 300 40 50 {3} 60 0\n"
    lines = [line.format(CPUS[0], user, system, steal)]
    lines += [line.format(number, 1000, 500, 7) for number in CPUS[1:]]
    alien = line.format(max(CPUS) + 1, user * 9, system * 9, steal * 9)
    return "cpu  1 2 3 4 5 6 7 8 9 10\n" + "".join(lines) + alien + "intr 5 0 0\nctxt 7\n"


def pressure(total_us):
    averages = "avg10=0.00 avg60=0.12 avg300=0.45"
    return f"some {averages} total={total_us}\nfull {averages} total={total_us // 2}\n"


def vmstat(pswpin, pswpout, oom_kill):
    return f"nr_free_pages 9\npswpin {pswpin}\npswpout {pswpout}\noom_kill {oom_kill}\nthp 1\n"


def core(number, siblings, core_ms, package_ms):
    folder = f"{CPU}/cpu{number}"
    return {
        f"{folder}/topology/thread_siblings": siblings,
        f"{folder}/topology/core_siblings": "f",
        f"{folder}/thermal_throttle/core_throttle_count": "3",
        f"{folder}/thermal_throttle/core_throttle_total_time_ms": str(core_ms),
        f"{folder}/thermal_throttle/package_throttle_count": "4",
        f"{folder}/thermal_throttle/package_throttle_total_time_ms": str(package_ms),
    }


def supplies(online, status="Full"):
    return {
        f"{SUPPLY}/AC/type": "Mains",
        f"{SUPPLY}/AC/online": str(online),
        f"{SUPPLY}/BAT0/type": "Battery",
        f"{SUPPLY}/BAT0/status": status,
        f"{SUPPLY}/hidpp_battery_0/type": "Battery",
        f"{SUPPLY}/hidpp_battery_0/scope": "Device",
        f"{SUPPLY}/hidpp_battery_0/status": "Discharging",
    }


@pytest.fixture
def captured(tmp_path):
    """Write these files over what is there, and look."""

    def go(files):
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.rstrip("\n") + "\n", encoding="ascii")
        with contextlib.closing(MachineWatch(tmp_path / "proc", tmp_path / "sys")) as watch:
            return watch.look()

    return go


@pytest.fixture
def told(captured):
    """What is said about ten seconds between two captured trees."""

    def go(first, second, worker_cpu_s=0.0):
        before, after = captured(first), captured(second)
        after = replace(after, at_s=before.at_s + WALL_S, controller_cpu_s=before.controller_cpu_s)
        return disturbances(before, after, worker_cpu_s)

    return go


def test_what_is_not_there_is_absent_and_not_zero(captured):
    state = captured({})
    seen = {name for name, value in asdict(state).items() if value is not None}
    assert seen == {"at_s", "cpus", "controller_cpu_s"}
    assert state.cpus == len(CPUS)


ODD = ["", "-1", "garbage", "some total=", "some total=1e3", "9" * 30, "cpu0 1 2", "cpu0 x y z\0"]


@pytest.mark.parametrize("text", ODD)
def test_an_odd_file_is_as_good_as_none(captured, text):
    files = ["proc/stat", "proc/vmstat", "proc/pressure/memory", "proc/self/cgroup"]
    files += [f"{SUPPLY}/AC/type", f"{SUPPLY}/BAT0/type", *core(0, "1", 0, 0)]
    state = captured(dict.fromkeys(files, text) | {"proc/self/mountinfo": ""})
    assert state == MachineState(state.at_s, len(CPUS), state.controller_cpu_s)


def test_a_folder_instead_of_a_file_is_as_good_as_none(captured, tmp_path):
    (tmp_path / "proc" / "stat").mkdir(parents=True)
    assert captured({}).busy_s is None


def test_cpu_time_is_of_programs_on_our_cpus(captured):
    state = captured({"proc/stat": stat(user=1000, system=500, steal=7)})
    assert state.busy_s == pytest.approx(15.2 * len(CPUS))  # 10 user, 0.2 nice, 5 system
    assert state.steal_s == pytest.approx(0.07 * len(CPUS))


def test_cpus_that_a_container_numbers_anew_are_not_guessed(captured):
    odd = stat().replace(f"cpu{CPUS[0]} ", f"cpu{max(CPUS) + 2} ")
    assert captured({"proc/stat": odd}).busy_s is None


def test_programs_that_used_more_than_half_a_cpu_are_named(told):
    share = max(0.7, len(CPUS) / 30)
    said = told({"proc/stat": stat(user=0)}, {"proc/stat": stat(user=round(share * 1000))})
    assert said == (f"other programs used {share:.1f} of {len(CPUS)} CPUs",)


def test_the_background_is_not_named(told):
    assert told({"proc/stat": stat(user=0)}, {"proc/stat": stat(user=400)}) == ()


def test_the_workers_own_load_is_not_named(told):
    files = {"proc/stat": stat(user=0)}, {"proc/stat": stat(user=990)}
    assert told(*files, worker_cpu_s=9.8) == ()
    assert told(*files, worker_cpu_s=12.0) == ()  # ticks may say less than the worker's own clock
    assert told(*files, worker_cpu_s=None) == ()


def test_a_host_that_takes_time_is_named(told):
    files = {"proc/stat": stat(user=0, steal=0)}, {"proc/stat": stat(user=880, steal=120)}
    said = told(*files, worker_cpu_s=8.8)
    assert said == ("a virtual machine's host took 12 % of the CPU time that was wanted (steal)",)


@pytest.mark.parametrize(("user", "steal"), [(880, 9), (0, 4)])
def test_a_little_steal_is_not_named(told, user, steal):
    files = {"proc/stat": stat(user=0, steal=0)}, {"proc/stat": stat(user=user, steal=steal)}
    assert told(*files, worker_cpu_s=user / 100) == ()


def test_swapping_is_named_in_both_directions(told):
    pages = 120_000_000 // os.sysconf("SC_PAGE_SIZE")
    first = {"proc/vmstat": vmstat(5, 5, 0)}
    assert told(first, {"proc/vmstat": vmstat(5 + pages, 5, 0)}) == ("swapped 120 MB in, 0 MB out",)
    assert told(first, {"proc/vmstat": vmstat(5, 5 + pages, 0)}) == ("swapped 0 MB in, 120 MB out",)


def test_a_few_pages_of_a_waking_daemon_are_not_named(told):
    pages = 900_000 // os.sysconf("SC_PAGE_SIZE")
    assert told({"proc/vmstat": vmstat(5, 5, 2)}, {"proc/vmstat": vmstat(5 + pages, 5, 2)}) == ()


def test_a_process_killed_for_memory_is_named(told):
    said = told({"proc/vmstat": vmstat(0, 0, 2)}, {"proc/vmstat": vmstat(0, 0, 3)})
    assert said == ("the kernel killed 1 process(es) because memory ran out",)


@pytest.mark.parametrize(
    ("waited_us", "said"),
    [
        (2_200_000, ("programs waited 22 % of the time for memory (PSI)",)),
        (99_000_000, ("programs waited 100 % of the time for memory (PSI)",)),
        (150_000, ()),
    ],
)
def test_waiting_for_memory_is_named_when_it_matters(told, waited_us, said):
    files = [{"proc/pressure/memory": pressure(total)} for total in (77, 77 + waited_us)]
    assert told(*files) == said


@pytest.mark.parametrize(
    ("core_ms", "package_ms", "said"),
    [
        (340, 20, ("the CPU was throttled by heat for 340 ms",)),
        (20, 500, ("the CPU was throttled by heat for 500 ms",)),
        (60_000, 0, ("the CPU was throttled by heat for 10000 ms",)),  # most of it before
        (150, 150, ()),
    ],
)
def test_heat_is_named_by_the_longest_time_of_one_core_or_package(told, core_ms, package_ms, said):
    first = core(0, "3", 10, 10) | core(1, "3", 10, 10) | core(2, "c", 10, 10)
    assert (
        told(first, first | core(2, "c", 10 + core_ms, 10) | core(0, "3", 10, 10 + package_ms))
        == said
    )


def test_one_cpu_of_each_core_and_of_each_package_is_read(captured):
    state = captured(core(0, "3", 1, 5) | core(1, "3", 9, 9) | core(2, "c", 2, 9))
    assert sorted(state.throttled_s) == pytest.approx([0.001, 0.002, 0.005])
    assert state.throttles is None


def test_an_old_kernel_has_counts_only(told, captured, tmp_path):
    names = {name: text for name, text in core(0, "1", 0, 0).items() if "time" not in name}
    assert told(names, names) == ()
    state = captured(names)
    assert (state.throttled_s, state.throttles) == (None, 7)
    counted = {f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "5"}
    assert told(names, counted) == ("the CPU was throttled by heat 2 time(s)",)


def test_a_cpu_that_went_offline_tells_nothing_more(captured, tmp_path):
    assert captured(core(0, "1", 4, 5) | core(1, "2", 4, 5)).throttled_s is not None
    shutil.rmtree(tmp_path / CPU / "cpu1" / "thermal_throttle")
    assert captured({}).throttled_s is None


QUOTAS = {  # name: (membership, kind and options of its mount, the counter, its unit in 1 ms)
    "v2": ("0::/pod/job\n", "cgroup2 cgroup2 rw", "throttled_usec", 1000),
    "v1": (
        "3:cpu,cpuacct:/pod/job\n0::/\n",
        "cgroup cgroup rw,cpu,cpuacct",
        "throttled_time",
        10**6,
    ),
}


@pytest.mark.parametrize("place", ["cg/pod/job", "cg/pod"])
@pytest.mark.parametrize("version", QUOTAS)
def test_a_quota_of_our_cgroup_or_of_one_above_is_named(told, captured, tmp_path, version, place):
    membership, mount, counter, unit = QUOTAS[version]
    first = {
        "proc/self/cgroup": membership,
        "proc/self/mountinfo": f"35 31 0:32 / {tmp_path}/cg rw,relatime - {mount}\n",
        "cg/cpu.stat": "usage_usec 5\n",
        "cg/pod/cpu.stat": f"usage_usec 5\nnr_throttled 2\n{counter} {unit * 100}\n",
        "cg/pod/job/cpu.stat": f"usage_usec 5\nnr_throttled 2\n{counter} {unit * 100}\n",
    }
    assert captured(first).quota_wait_s == pytest.approx(0.2)
    for rise_ms, said in (
        (340, ("a CPU quota held programs back for 340 ms (sum over CPUs)",)),
        (150, ()),
    ):
        later = {f"{place}/cpu.stat": f"nr_throttled 9\n{counter} {unit * (100 + rise_ms)}\n"}
        assert told(first, later) == said


def test_a_quota_is_looked_for_anew_when_we_are_moved(captured, tmp_path):
    first = {
        "proc/self/cgroup": "0::/a\n",
        "proc/self/mountinfo": f"35 31 0:32 / {tmp_path}/cg rw - cgroup2 cgroup2 rw\n",
        "cg/a/cpu.stat": "throttled_usec 1000\n",
        "cg/b/cpu.stat": "throttled_usec 5000\n",
    }
    assert captured(first).quota_wait_s == pytest.approx(0.001)
    assert captured({"proc/self/cgroup": "0::/b\n"}).quota_wait_s == pytest.approx(0.005)


def test_a_pulled_plug_is_named(told):
    said = told(supplies(online=1), supplies(online=0, status="Discharging"))
    assert said == ("power went from AC to battery",)
    assert told(supplies(online=0), supplies(online=1)) == ("power went from battery to AC",)
    assert told(supplies(online=0), supplies(online=0)) == ()


@pytest.mark.parametrize(
    ("files", "power"),
    [
        ({f"{SUPPLY}/ADP1/type": "Mains", f"{SUPPLY}/ADP1/online": "1"}, None),  # no battery
        ({f"{SUPPLY}/C0/type": "USB", f"{SUPPLY}/C0/online": "0"}, None),
        ({f"{SUPPLY}/B/type": "Battery", f"{SUPPLY}/B/status": "Discharging"}, "battery"),
        ({f"{SUPPLY}/B/type": "Battery", f"{SUPPLY}/B/status": "Not charging"}, "AC"),
        (supplies(0) | {f"{SUPPLY}/C0/type": "USB", f"{SUPPLY}/C0/online": "1"}, "AC"),
        ({f"{SUPPLY}/m/type": "Battery", f"{SUPPLY}/m/scope": "Device"}, None),
    ],
)
def test_power_is_told_of_machines_with_a_battery_of_their_own(captured, files, power):
    assert captured(files).power == power


def test_this_machine_can_be_looked_at():
    with contextlib.closing(MachineWatch()) as watch:
        before, after = watch.look(), watch.look()
    assert after.busy_s >= before.busy_s > 0
    assert after.at_s >= before.at_s
    assert after.controller_cpu_s >= before.controller_cpu_s
    assert after.swapped_in_bytes is None or after.swapped_in_bytes >= before.swapped_in_bytes
    assert json.loads(json.dumps(asdict(after)))["cpus"] == len(CPUS)
