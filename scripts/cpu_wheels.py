"""Stand-ins for torchaudio and torchvision where no build for the CPU can be had.

    python scripts/cpu_wheels.py FOLDER

Linux's CPU builds are on PyTorch's own index alone. Without it, this takes the wheels of the main
index, which are for CUDA and do not load beside a torch for the CPU, and leaves out what is
compiled in them. What remains is enough for the models that ship: torchaudio's transforms are
Python, and of torchvision only its classes are imported. FOLDER gets them under the versions of
accelerators.toml, for --find-links; a torch for the CPU has to lie in such a folder as well.

For tests. An env that is measured should have the real builds.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from orchestrator.environments.torch_builds import torch_build

PACKAGES = ("torchaudio", "torchvision")
# else its import fails: it registers how these work on other devices
OPERATORS = """\
import torch
for _name in ("nms", "qnms"):
    torch.library.define(
        f"torchvision::{_name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    )
"""


def main() -> None:
    """Fetch both and write the stand-ins."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    build = torch_build("cpu", None, {}, "linux")
    assert build is not None
    with tempfile.TemporaryDirectory() as scratch:
        for name in PACKAGES:
            version = build.versions[name]
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            command += ["--dest", scratch, f"{name}=={version.partition('+')[0]}"]
            subprocess.run(command, check=True)
            (wheel,) = Path(scratch).glob(f"{name}-*.whl")
            print(strip(wheel, folder, name, version))


def strip(wheel: Path, folder: Path, name: str, version: str) -> Path:
    """Write the wheel without what is compiled, under another version; returns its file."""
    public = version.partition("+")[0]
    made = folder / wheel.name.replace(f"-{public}-", f"-{version}-", 1)
    old, new = f"{name}-{public}.dist-info/", f"{name}-{version}.dist-info/"
    record: list[str] = []
    with (
        zipfile.ZipFile(wheel) as source,
        zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for item in source.infolist():
            if (
                item.is_dir()
                or f"{name}.libs/" in item.filename
                or item.filename.endswith("RECORD")
            ):
                continue
            if item.filename.endswith(".so"):
                continue
            place = item.filename.replace(old, new)
            content = source.read(item)
            if place == f"{new}METADATA":
                content = content.replace(
                    f"Version: {public}\n".encode(), f"Version: {version}\n".encode()
                )
            if place == "torchvision/__init__.py":
                content = OPERATORS.encode() + content
            target.writestr(place, content)
            digest = (
                base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            )
            record.append(f"{place},sha256={digest},{len(content)}\n")
        record.append(f"{new}RECORD,,\n")
        target.writestr(f"{new}RECORD", "".join(record))
    return made


if __name__ == "__main__":
    main()
