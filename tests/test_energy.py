"""Energy: counters that wrap, stand still, vanish; sensors that are integrated."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
from device_trees import write
from trees import until

from orchestrator.platforms.devices import EnergyMeter, between, power
from orchestrator.platforms.devices.energy import HIGHEST_PACKAGE_W, Reading
from orchestrator.platforms.devices.power import PowerIntegral
from orchestrator.platforms.devices.sysfs_energy import gpu_counters, gpu_powers, package_counters
from schemas.records import Energy

RANGE_UJ = 262143328850
PACKAGE = Reading("package", 100.0, 10.0, RANGE_UJ / 1e6, "rapl")
GPU = Reading("gpu", 100.0, 10.0, None, "nvml")


def rise(before, after):
    return [energy.joules for energy in between({"a": before}, {"a": after})]


def test_what_a_counter_rose_by():
    after = {
        "package-0": replace(PACKAGE, joules=130.5, at_s=11.0),
        "GPU": replace(GPU, joules=101),
    }
    assert between({"package-0": PACKAGE, "GPU": GPU}, after) == (
        Energy(source="GPU", scope="gpu", joules=1.0, method="nvml"),
        Energy(source="package-0", scope="package", joules=30.5, method="rapl"),
    )


def test_a_counter_that_only_one_reading_has_is_left_out():
    assert between({"a": PACKAGE, "b": PACKAGE}, {"b": PACKAGE, "c": PACKAGE}) == (
        Energy(source="b", scope="package", joules=0.0, method="rapl"),
    )
    assert between({}, {"a": GPU}) == between({"a": GPU}, {}) == ()


@pytest.mark.parametrize("start", [0, 1, RANGE_UJ // 2, RANGE_UJ - 10**6, RANGE_UJ - 1])
@pytest.mark.parametrize("rise_uj", [0, 1, 999_999, 24 * 10**9])
def test_a_counter_may_wrap_once(start, rise_uj):
    """One minute at up to 400 W, from anywhere in the range."""
    before = replace(PACKAGE, joules=start / 1e6)
    after = replace(PACKAGE, joules=(start + rise_uj) % RANGE_UJ / 1e6, at_s=70.0)
    assert rise(before, after) == [pytest.approx(rise_uj / 1e6, abs=1e-3)]


def test_a_counter_that_may_have_wrapped_twice_is_left_out():
    longest_s = PACKAGE.range_joules / HIGHEST_PACKAGE_W - 1
    after = replace(PACKAGE, joules=150.0, at_s=10.0 + longest_s)
    assert rise(PACKAGE, replace(after, at_s=after.at_s - 0.1)) == [50.0]
    assert rise(PACKAGE, replace(after, at_s=after.at_s + 0.1)) == []


def test_a_counter_that_began_anew_is_left_out():
    """A suspended machine: looked at as a wrap it would be 262 kJ in a second."""
    assert rise(replace(PACKAGE, joules=5000.0), replace(PACKAGE, joules=20.0, at_s=11.0)) == []
    assert rise(GPU, replace(GPU, joules=99.0, at_s=11.0)) == []


def powercap(sys_folder, zone, name, energy_uj, range_uj=RANGE_UJ):
    files = {"name": name, "energy_uj": energy_uj, "max_energy_range_uj": range_uj}
    write(sys_folder / "class" / "powercap" / zone, **files)


def readings(counters):
    meter = EnergyMeter(counters)
    found = meter.read()
    assert meter.problem() is None
    meter.close()
    return found


def test_only_whole_packages_are_read(tmp_path):
    powercap(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    powercap(tmp_path, "intel-rapl:0:0", "core", 1)
    powercap(tmp_path, "intel-rapl:0:1", "package-x", 1)
    powercap(tmp_path, "intel-rapl:1", "package-1", 7_000_000, range_uj=65532610987)
    powercap(tmp_path, "intel-rapl:2", "psys", 9)
    powercap(tmp_path, "intel-rapl-mmio:0", "package-9", 99)
    write(tmp_path / "class" / "powercap" / "intel-rapl", enabled=1)
    powercap(tmp_path, "intel-rapl:3", "package-3", "")
    powercap(tmp_path, "intel-rapl:4", "package-4", 1, range_uj=0)
    found = readings(package_counters(tmp_path))
    assert {name: (one.joules, one.range_joules) for name, one in found.items()} == {
        "package-0": (5.0, 262143.32885),
        "package-1": (7.0, 65532.610987),
    }
    assert {one.scope for one in found.values()} == {"package"}


def test_a_wrap_in_the_file_is_a_rise(tmp_path):
    powercap(tmp_path, "intel-rapl:0", "package-0", RANGE_UJ - 2_000_000)
    meter = EnergyMeter(package_counters(tmp_path))
    before = meter.read()
    powercap(tmp_path, "intel-rapl:0", "package-0", 3_000_000)
    (energy,) = between(before, meter.read())
    assert energy.joules == pytest.approx(5.0)
    (tmp_path / "class" / "powercap" / "intel-rapl:0" / "energy_uj").unlink()
    assert meter.read() == {}
    assert meter.problem().startswith("energy: ")
    meter.close()


def test_no_powercap_is_no_counter(tmp_path):
    assert package_counters(tmp_path) == gpu_counters(tmp_path) == gpu_powers(tmp_path) == []


def hwmon(sys_folder, number, driver, address="0000:03:00.0", **files):
    folder = sys_folder / "class" / "hwmon" / f"hwmon{number}"
    write(folder, name=driver, **files)
    device = sys_folder / "devices" / "pci0000:00" / address
    device.mkdir(parents=True, exist_ok=True)
    (folder / "device").symlink_to(device)


needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")


@needs_links
def test_cards_with_a_counter(tmp_path):
    hwmon(tmp_path, 0, "nvme", energy1_input=5)
    hwmon(tmp_path, 1, "i915", "0000:04:00.0", energy1_input=1_500_000)
    hwmon(tmp_path, 2, "i915_gt0", "0000:04:00.0", energy1_input=1)
    hwmon(tmp_path, 3, "xe", energy2_input=9_000_000)
    hwmon(tmp_path, 4, "xe", "0000:05:00.0", energy1_input=8_000_000, energy2_input=7)
    hwmon(tmp_path, 5, "xe", "0000:06:00.0", energy1_input="N/A")
    found = readings(gpu_counters(tmp_path))
    assert {name: (one.joules, one.method) for name, one in found.items()} == {
        "i915 0000:04:00.0": (1.5, "hwmon-energy1_input"),
        "xe 0000:03:00.0": (9.0, "hwmon-energy2_input"),
        "xe 0000:05:00.0": (8.0, "hwmon-energy1_input"),
    }
    assert {one.scope for one in found.values()} == {"gpu"}


@needs_links
def test_an_apus_power_is_its_packages_and_a_cards_its_own(tmp_path):
    hwmon(tmp_path, 1, "amdgpu", "0000:c5:00.0", power1_average=9_000_000, in1_label="vddnb")
    hwmon(tmp_path, 2, "amdgpu", power1_input=8_000_000, in0_label="vddgfx")
    hwmon(tmp_path, 3, "k10temp", power1_average=1)
    found = readings(gpu_powers(tmp_path))
    assert {name: (one.scope, one.method) for name, one in found.items()} == {
        "amdgpu 0000:c5:00.0": ("package", "hwmon-power1_average-integrated-250ms"),
        "amdgpu 0000:03:00.0": ("gpu", "hwmon-power1_input-integrated-250ms"),
    }


def test_power_is_integrated_over_time():
    watts = iter([10.0, 30.0, 30.0])
    integral = PowerIntegral("a", "gpu", "sensor", lambda: next(watts))
    (first,), (second,), (third,) = (list(integral.readings().values()) for _ in range(3))
    assert first.joules == 0.0
    assert second.joules == pytest.approx(20.0 * (second.at_s - first.at_s))
    expected = second.joules + 30.0 * (third.at_s - second.at_s)
    assert third.joules == pytest.approx(expected)


def test_a_sensor_that_slept_begins_anew():
    asleep = []

    def watts():
        if asleep:
            raise PermissionError("asleep")
        return 50.0

    integral = PowerIntegral("a", "gpu", "sensor", watts)
    before = integral.readings()
    asleep.append(1)
    with pytest.raises(PermissionError):
        integral.readings()
    asleep.clear()
    awake = integral.readings()
    assert between(before, awake) == between(before, integral.readings()) == ()
    assert len(between(awake, integral.readings())) == 1


def test_a_sum_with_a_gap_in_it_is_begun_anew(monkeypatch):
    integral = PowerIntegral("a", "gpu", "sensor", lambda: 50.0)
    before = integral.readings()
    monkeypatch.setattr(power, "LONGEST_GAP_S", 0.0)
    assert between(before, integral.readings()) == ()


def test_a_meter_integrates_by_itself():
    looks = []
    integral = PowerIntegral("a", "gpu", "sensor", lambda: looks.append(1) or 50.0)
    meter = EnergyMeter([integral])
    before = meter.read()
    so_far = len(looks)
    until(lambda: len(looks) >= so_far + 2)
    after = meter.read()
    meter.close()
    (energy,) = between(before, after)
    assert energy.joules == pytest.approx(50.0 * (after["a"].at_s - before["a"].at_s))
