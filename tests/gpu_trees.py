"""Captured /sys, /proc and /dev trees, and Windows registries, of machines with a GPU or without.

The texts are what kernels and drivers print; addresses and ids are those of the machines named.
"""

from __future__ import annotations

KFD_GPU = """cpu_cores_count 0
simd_count {simds}
mem_banks_count 1
caches_count 206
io_links_count 1
vendor_id 4098
device_id {device}
location_id 50432
domain 0
drm_render_minor {minor}
hive_id 0
gfx_target_version {version}
max_engine_clk_fcompute 2900
"""
KFD_CPU = (
    "cpu_cores_count 32\nsimd_count 0\ngfx_target_version 0\nvendor_id 0\ndrm_render_minor 0\n"
)
NVIDIA_VERSION = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  "
    "(dvs-builder@U22-I3-B17-02-5)  Tue Sep 23 09:55:41 UTC 2025\nGCC version:  gcc 13.3.0\n"
)
NVIDIA_INFORMATION = """Model: \t\t NVIDIA GeForce RTX 4070
IRQ:   \t\t 96
GPU UUID: \t GPU-11111111-2222-3333-4444-555555555555
Bus Type: \t PCIe
Device Minor: \t 0
"""
STRIX_HALO = {
    "DriverDesc": "AMD Radeon(TM) 8060S Graphics",
    "MatchingDeviceId": r"pci\ven_1002&dev_1586",
    "DriverVersion": "32.0.21025.1024",
    "HardwareInformation.qwMemorySize": (32 << 30).to_bytes(8, "little"),
}
RTX_4070 = {
    "DriverDesc": "NVIDIA GeForce RTX 4070",
    "MatchingDeviceId": r"PCI\VEN_10DE&DEV_2786",
    "DriverVersion": "32.0.15.8195",
    "HardwareInformation.qwMemorySize": 12 << 30,
}
BASIC_DISPLAY = {"DriverDesc": "Microsoft Basic Display Adapter", "MatchingDeviceId": "*PNP09FF"}
STRIX_HALO_IS_THERE = r"PCI\VEN_1002&DEV_1586&SUBSYS_1F131043&REV_C1\4&2D9C61AB&0&0041"
RTX_4070_IS_THERE = r"PCI\VEN_10DE&DEV_2786&SUBSYS_88F21043&REV_A1\4&1FC990D7&0&0019"


def add_card(root, number, vendor, device, driver, address, render=None, vram_bytes=None):
    """A display device, as /sys/class/drm shows it, with a connector."""
    pci = root / "sys" / "devices" / "pci0000:00" / address
    pci.mkdir(parents=True)
    write(pci / "vendor", f"0x{vendor:04x}\n")
    write(pci / "device", f"0x{device:04x}\n")
    drivers = root / "sys" / "bus" / "pci" / "drivers" / driver
    drivers.mkdir(parents=True, exist_ok=True)
    (pci / "driver").symlink_to(drivers)
    if render is not None:
        (pci / "drm" / f"renderD{render}").mkdir(parents=True)
        write(root / "dev" / "dri" / f"renderD{render}", "")
    if vram_bytes is not None:
        write(pci / "mem_info_vram_total", f"{vram_bytes}\n")
    card = root / "sys" / "class" / "drm" / f"card{number}"
    card.mkdir(parents=True)
    (card / "device").symlink_to(pci)
    (card.with_name(f"card{number}-eDP-1")).mkdir()


def add_kfd_nodes(root, *nodes):
    """nodes: (gfx_target_version, device id, render minor, SIMDs)."""
    topology = root / "sys" / "class" / "kfd" / "kfd" / "topology" / "nodes"
    write(topology / "0" / "properties", KFD_CPU)
    for number, (version, device, minor, simds) in enumerate(nodes, 1):
        text = KFD_GPU.format(version=version, device=device, minor=minor, simds=simds)
        write(topology / str(number) / "properties", text)
    write(root / "dev" / "kfd", "")


def add_nvidia(root, address="0000:01:00.0"):
    """NVIDIA's own driver."""
    write(root / "proc" / "driver" / "nvidia" / "version", NVIDIA_VERSION)
    write(
        root / "proc" / "driver" / "nvidia" / "gpus" / address / "information", NVIDIA_INFORMATION
    )
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        write(root / "dev" / name, "")


def add_vulkan(root, *names):
    """Manifests of Vulkan drivers."""
    for name in names:
        write(root / "usr" / "share" / "vulkan" / "icd.d" / name, "{}")


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
