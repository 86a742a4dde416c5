"""The saboteur's stacks and recordings, made from the matrix."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import soundfile
from conftest import stack_toml

from matrix.batches import BY_CLIP, GOOD, Batch, model_of
from matrix.faults import CELLS
from matrix.saboteur.sabotage import FAULTS  # their order is what the audio says
from schemas.messages import PROTOCOL

SABOTEUR = Path(__file__).resolve().parent / "saboteur"

BY_OPTION = ("load", "shutdown")
FOR_RUNS = ("fill_disk", "delete_run")
CLIP_S = 0.05
ENV_WORKER = """\
from . import sabotage
from .wire import Scene
sabotage.do("{fault}", Scene("imported", a_number="import_s", import_s=0.1))
def load(checkpoint, device): ...
def transcribe(model, audio): ...
"""


def write_saboteur(folder: Path, lock: Path) -> None:
    """The stack with a model for each fault that a model brings about."""
    shutil.copytree(SABOTEUR, folder / "saboteur")
    models = dict.fromkeys(model_of(cell) for cell in CELLS if cell.phase not in (*BY_CLIP, "env"))
    models |= dict.fromkeys(f"{phase}-{fault}" for phase in BY_OPTION for fault in FOR_RUNS)
    text = stack_toml("saboteur", [GOOD])
    for model in models:
        phase, _, fault = model.partition("-")
        options = f'{{ at = "{phase}", fault = "{fault}" }}'
        text += f"[tool.asrbench.models.{model}]\noptions = {options}\n"
    (folder / "saboteur" / "pyproject.toml").write_text(text, encoding="utf-8")
    shutil.copy(lock, folder / "saboteur" / "requirements.lock")


def write_lean_stack(folder: Path, name: str, worker: str) -> Path:
    """A stack of one model that needs msgpack alone. Has no lock yet."""
    stack = folder / name
    shutil.copytree(SABOTEUR, stack)
    # numpy takes most of an env's build, and nobody comes to need it
    text = stack_toml(name, dependencies=["msgpack"])
    (stack / "pyproject.toml").write_text(text, encoding="utf-8")
    (stack / "worker.py").write_text(worker, encoding="utf-8")
    return stack


def write_env_stacks(folder: Path, lock: Path) -> None:
    """For each fault while an env is proved, a stack whose env is not built yet."""
    for cell in CELLS:
        if cell.phase == "env":
            worker = ENV_WORKER.format(fault=cell.fault)
            stack = write_lean_stack(folder, model_of(cell), worker)
            shutil.copy(lock, stack / "requirements.lock")


def hook_into(env: Path) -> None:
    """Let the env bring harm before there is a worker; see saboteur/early.py."""
    packages = next(env.rglob("site-packages"))
    shutil.copytree(SABOTEUR, packages / "saboteur")
    (packages / "saboteur" / "version.py").write_text(f"PROTOCOL = {PROTOCOL}\n", encoding="utf-8")
    (packages / "saboteur.pth").write_text("import saboteur.early\n", encoding="utf-8")


def write_clips(folder: Path, asked: list[tuple[str, str]]) -> Path:
    """Recordings whose first two samples say which fault, and when."""
    folder.mkdir()
    for number, (phase, fault) in enumerate(asked):
        samples = np.full(round(16_000 * CLIP_S), 0.25, np.float32)
        samples[:2] = list(FAULTS).index(fault) / 1000, 0.75 * (phase == "idle")
        soundfile.write(folder / f"{number:03d}.wav", samples, 16_000, subtype="FLOAT")
        (folder / f"{number:03d}.txt").write_text("hello world", encoding="utf-8")
    return folder


def write_queue(folder: Path, batch: Batch) -> None:
    """What the next processes will meet before they are workers; see saboteur/early.py."""
    lines = []
    for cell in batch.cells:
        if cell.phase in ("spawn", "hello"):
            lines.append(f"{cell.phase} {cell.fault}")
        elif cell.phase in ("load", "shutdown"):
            lines.append("none none")
    if not batch.by_clip:
        (folder / "queue").write_text("\n".join(lines), encoding="utf-8")
