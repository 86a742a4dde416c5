"""Captured /proc and /sys trees of machines with a GPU, written out where a test wants them.

The texts are what kernels print, whitespace included; numbers that matter are arguments.
"""

from __future__ import annotations

AMDGPU_OLD = """pos:\t0
flags:\t02104002
mnt_id:\t24
ino:\t614
pasid:\t32784
drm-driver:\tamdgpu
drm-pdev:\t{pdev}
drm-client-id:\t{client}
drm-memory-vram:\t{vram} KiB
drm-memory-gtt: \t{gtt} KiB
drm-memory-cpu: \t4096 KiB
amd-memory-visible-vram:\t{vram} KiB
amd-evicted-vram:\t0 KiB
amd-requested-vram:\t{gtt} KiB
amd-requested-gtt:\t{gtt} KiB
drm-engine-gfx:\t107322799 ns
"""
AMDGPU_NEW = """pos:\t0
flags:\t02100002
mnt_id:\t26
ino:\t1201
drm-driver:\tamdgpu
drm-client-id:\t{client}
drm-pdev:\t{pdev}
pasid:\t32785
drm-total-cpu:\t8 MiB
drm-shared-cpu:\t0
drm-resident-cpu:\t8 MiB
drm-total-gtt:\t{gtt} KiB
drm-shared-gtt:\t0
drm-active-gtt:\t0
drm-resident-gtt:\t{gtt} KiB
drm-purgeable-gtt:\t0
drm-total-vram:\t{vram} KiB
drm-shared-vram:\t{shared} KiB
drm-active-vram:\t0
drm-resident-vram:\t{vram} KiB
drm-purgeable-vram:\t0
drm-total-gds:\t0
drm-resident-gws:\t64
drm-total-doorbell:\t4096
drm-resident-doorbell:\t4096
drm-memory-vram:\t{vram} KiB
drm-memory-gtt: \t{gtt} KiB
drm-memory-cpu: \t8192 KiB
amd-evicted-vram:\t0 KiB
amd-requested-vram:\t{vram} KiB
amd-requested-gtt:\t{gtt} KiB
drm-engine-gfx:\t19291217545 ns
"""
I915 = """pos:\t0
flags:\t02100002
mnt_id:\t26
ino:\t284
drm-driver:\ti915
drm-client-id:\t39
drm-pdev:\t0000:00:02.0
drm-total-system0:\t6044 KiB
drm-shared-system0:\t0
drm-active-system0:\t0
drm-resident-system0:\t6040 KiB
drm-purgeable-system0:\t1688 KiB
drm-total-stolen-system0:\t0
drm-resident-stolen-system0:\t1048576
drm-engine-render:\t346249 ns
drm-engine-capacity-video:\t2
"""
XE = """pos:\t0
flags:\t0100002
mnt_id:\t26
ino:\t685
drm-driver:\txe
drm-client-id:\t3
drm-pdev:\t0000:03:00.0
drm-total-system:\t0
drm-resident-system:\t0
drm-total-gtt:\t192 KiB
drm-shared-gtt:\t0
drm-resident-gtt:\t192 KiB
drm-total-vram0:\t23992 KiB
drm-shared-vram0:\t16 MiB
drm-resident-vram0:\t23 MiB
drm-cycles-rcs:\t28257900
drm-total-cycles-rcs:\t7655183225
drm-engine-capacity-ccs:\t4
"""
LINUX_5_15 = """pos:\t0
flags:\t02100002
mnt_id:\t26
pdev:\t0000:03:00.0
pasid:\t32771
vram mem:\t2068 kB
gtt mem:\t8192 kB
"""


def amdgpu(client, vram_kib=0, gtt_kib=0, shared_kib=0, text=AMDGPU_NEW, pdev="0000:c5:00.0"):
    return text.format(client=client, vram=vram_kib, gtt=gtt_kib, shared=shared_kib, pdev=pdev)


def add_process(proc, pid, *texts, link="/dev/dri/renderD128"):
    """A process with the usual files and one open DRM file for each text."""
    fd, fdinfo = proc / str(pid) / "fd", proc / str(pid) / "fdinfo"
    fd.mkdir(parents=True)
    fdinfo.mkdir()
    for number, target in enumerate(("/dev/null", "pipe:[123]", "/home/dri/x")):
        (fd / str(number)).symlink_to(target)
        # would be counted if its link were not looked at
        (fdinfo / str(number)).write_text(amdgpu(999, vram_kib=1 << 30), encoding="ascii")
    for number, text in enumerate(texts, 10):
        (fd / str(number)).symlink_to(link)
        (fdinfo / str(number)).write_text(text, encoding="ascii")


def write(folder, **files):
    """Small files, as below /sys."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n", encoding="ascii")


def add_kfd(root, gpus, processes, namespace="pid:[4026531836]"):
    """gpus: GPU id → (PCI domain, location id); processes: pid → {GPU id: bytes}."""
    kfd = root / "sys" / "class" / "kfd" / "kfd"
    write(kfd / "topology" / "nodes" / "0", gpu_id=0, properties="cpu_cores_count 16\nsimd_count 0")
    for number, (gpu_id, (domain, location)) in enumerate(gpus.items(), 1):
        properties = f"simd_count 80\nvendor_id 4098\nlocation_id {location}\ndomain {domain}"
        write(kfd / "topology" / "nodes" / str(number), gpu_id=gpu_id, properties=properties)
    (kfd / "proc").mkdir(parents=True)
    for pid, held in processes.items():
        files = {f"vram_{gpu_id}": count for gpu_id, count in held.items()}
        write(kfd / "proc" / str(pid), pasid=32770, **files)
    (root / "proc" / "self" / "ns").mkdir(parents=True, exist_ok=True)
    (root / "proc" / "self" / "ns" / "pid").symlink_to(namespace)
