"""Make a tiny checkpoint for each model that ships, in the file layout of its hub.

    python scripts/make_checkpoints.py [--scale N] FOLDER [MODEL …]

Each gets FOLDER/MODEL, under 5 MB, made by a file of checkpoints/ inside its own env for the CPU,
which is built if it is not there (moonshine's need `pip install -e ".[checkpoints]"`). What is
printed can be pasted behind

    asrbench orchestrate --models all

Those of Whisper and Moonshine are fitted: they recognise the short recordings of snippets/clean.
whisper.cpp gets the same Whisper as transformers, converted to ggml and quantised to Q5_0. The
others have random weights: they show that a worker loads and runs the real layout, nothing more.
With --scale they are N times as wide, deeper, and all random (Moonshine has one size): for speed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ggml import write_ggml

from orchestrator import paths
from orchestrator.accelerators import Way
from orchestrator.audio.decode import DecodedFacts, decode
from orchestrator.environments.build import ensure_env
from orchestrator.environments.env import Env
from orchestrator.stacks import find_model, load_stacks

SCRIPTS = Path(__file__).resolve().parent


def main() -> None:
    """Make those that are named, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(RECIPES))
    parser.add_argument("--scale", type=int, default=1, metavar="N")
    given = parser.parse_args()
    unknown = set(given.models) - set(RECIPES)
    if unknown:
        parser.error(f"no recipe for {', '.join(sorted(unknown))}; there are: {', '.join(RECIPES)}")
    named = given.models or RECIPES
    made = [(model, RECIPES[model](model, given.folder, given.scale)) for model in named]
    for model, checkpoint in made:
        print(f"--checkpoint {model}={checkpoint}")


def whisper(model: str, folder: Path, scale: int) -> Path:
    """Fitted to the short recordings of snippets/clean, which takes a minute or two."""
    with tempfile.TemporaryDirectory() as scratch:
        recordings = Path(scratch) / "recordings.npz"
        np.savez(recordings, allow_pickle=False, **read_recordings())
        more = (str(recordings), "--scale", str(scale))
        return _in_env("distil-large-v3", "whisper.py", folder / model, *more)


def whisper_cpp(model: str, folder: Path, scale: int) -> Path:
    """The same Whisper, if it is there, in whisper.cpp's format."""
    source = folder / "distil-large-v3"
    if not (source / "model.safetensors").exists():
        whisper(source.name, folder, scale)
    file = folder / f"{model}-q5_0.bin"
    write_ggml(source, file, quantised=True)
    return file


def moonshine(model: str, folder: Path, scale: int) -> Path:
    """Fitted as well, by the features of the recordings; whatever the scale."""
    command = [sys.executable, str(SCRIPTS / "checkpoints" / "moonshine.py"), str(folder / model)]
    command += [str(_env(model).folder), "--size", model.removeprefix("moonshine-")]
    subprocess.run(command, check=True)
    return folder / model


def granite_speech(model: str, folder: Path, scale: int) -> Path:
    """Random, with a LoRA."""
    return _in_env(model, "granite_speech.py", folder / model, str(scale))


def phi4_multimodal(model: str, folder: Path, scale: int) -> Path:
    """Random, with a LoRA."""
    return _in_env(model, "phi4_multimodal.py", folder / model, str(scale))


def voxtral(model: str, folder: Path, scale: int) -> Path:
    """Random."""
    return _in_env(model, "voxtral.py", folder / model, str(scale))


RECIPES: dict[str, Callable[[str, Path, int], Path]] = {
    "distil-large-v3": whisper,
    "whisper-large-v3-turbo": whisper_cpp,
    "moonshine-base": moonshine,
    "moonshine-tiny": moonshine,
    "granite-speech-3.3-2b": granite_speech,
    "granite-speech-3.3-8b": granite_speech,
    "phi-4-multimodal": phi4_multimodal,
    "voxtral-mini-3b": voxtral,
}


def read_recordings() -> dict[str, np.ndarray]:
    """The short ones of snippets/clean, by what is said in them: float32, 16 kHz."""
    found = {}
    for text in sorted((paths.SHIPPED_SNIPPETS / "clean").glob("*.txt")):
        (audio,) = (one for one in text.parent.glob(f"{text.stem}.*") if one.suffix != ".txt")
        blocks = [np.array(block) for block in decode(audio, DecodedFacts())]
        found[text.read_text(encoding="utf-8").strip()] = np.concatenate(blocks)
    return found


def _in_env(model: str, script: str, folder: Path, *arguments: str) -> Path:
    """Run a file of checkpoints/ by the Python of the model's env."""
    # beside other work, threads that spin while they wait make fitting ten times slower
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
    # not -I: they share a module, which lies beside them
    python = [str(_env(model).python), "-E", "-s", "-X", "utf8"]
    file = str(SCRIPTS / "checkpoints" / script)
    subprocess.run([*python, file, str(folder), *arguments], check=True, env=environment)
    return folder


def _env(model: str) -> Env:
    stack, _ = find_model(load_stacks().values(), model)
    return ensure_env(stack, Way("cpu"), lambda said: print(said, file=sys.stderr))


if __name__ == "__main__":
    main()
