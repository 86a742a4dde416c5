"""Make a tiny checkpoint for each model that ships, in the file layout of its hub.

    python scripts/make_checkpoints.py FOLDER [MODEL …]

Each gets FOLDER/MODEL, under 5 MB, made inside the model's own env for the CPU, which is built if
it is not there. Use one in the place of the real checkpoint:

    asrbench orchestrate --models distil-large-v3 --checkpoint distil-large-v3=FOLDER/…

That of distil-large-v3 is fitted: it recognises the short recordings of snippets/clean. The others
have random weights: they show that a worker loads and runs the real layout, and nothing more.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator import paths
from orchestrator.accelerators import Way
from orchestrator.audio.decode import DecodedFacts, decode
from orchestrator.environments.build import ensure_env
from orchestrator.stacks import find_model, load_stacks

SCRIPTS = Path(__file__).resolve().parent / "checkpoints"


@dataclass(frozen=True)
class Recipe:
    """How a model's checkpoint is made. hears: whether it is fitted to recordings."""

    script: str
    arguments: tuple[str, ...] = ()
    hears: bool = False


RECIPES = {
    "distil-large-v3": Recipe("whisper.py", hears=True),
    "granite-speech-3.3-2b": Recipe("granite_speech.py"),
    "voxtral-mini-3b": Recipe("voxtral.py"),
    "phi-4-multimodal": Recipe("phi4_multimodal.py"),
}


def main() -> None:
    """Make those that are named, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(RECIPES))
    given = parser.parse_args()
    unknown = set(given.models) - set(RECIPES)
    if unknown:
        parser.error(f"no recipe for {', '.join(sorted(unknown))}; there are: {', '.join(RECIPES)}")
    for model in given.models or RECIPES:
        print(make(model, given.folder / model))


def make(model: str, folder: Path) -> Path:
    """Make one model's checkpoint in the folder, which is the checkpoint then."""
    recipe = RECIPES[model]
    stack, _ = find_model(load_stacks().values(), model)
    env = ensure_env(stack, Way("cpu"), print)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = [str(folder), *recipe.arguments]
        if recipe.hears:
            recordings = Path(scratch) / "recordings.npz"
            np.savez(recordings, allow_pickle=False, **read_recordings())
            arguments.append(str(recordings))
        script = SCRIPTS / recipe.script
        # not -I: recipes share a module, which lies beside them
        subprocess.run([env.python, "-E", "-s", "-X", "utf8", script, *arguments], check=True)
    return folder


def read_recordings() -> dict[str, np.ndarray]:
    """The short ones of snippets/clean, by what is said in them: float32, 16 kHz."""
    found = {}
    for text in sorted((paths.SHIPPED_SNIPPETS / "clean").glob("*.txt")):
        (audio,) = (one for one in text.parent.glob(f"{text.stem}.*") if one.suffix != ".txt")
        blocks = [np.array(block) for block in decode(audio, DecodedFacts())]
        found[text.read_text(encoding="utf-8").strip()] = np.concatenate(blocks)
    return found


if __name__ == "__main__":
    main()
