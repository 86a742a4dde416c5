"""Make a tiny Moonshine that recognises a few recordings, in the files and shapes of the real one.

    python scripts/checkpoints/moonshine.py FOLDER ENV [--size tiny] [--snippets snippets/clean]

ENV: what `asrbench env build moonshine` printed; its package has the tokenizer. Runs where asrbench
is installed with its extra "checkpoints", and not in the env, which cannot write ONNX.

It is fitted, not trained: the encoder gives the log power of each frame in some bands; the decoder
takes their mean and deviation over the frames with sound, finds the nearest of those that the
recordings have, and says the tokens of its reference one by one. Audio that is near none of them
ends at once. So text depends on the audio alone, as with a real model, and says nothing of the
accuracy of one. Two sizes of the library are known: tiny and base.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from moonshine_graphs import FRAME, HEADS, Array, decoder, encoder, features
from onnx_graph import save
from tokenizers import Tokenizer

from orchestrator.audio.decode import DecodedFacts, decode
from orchestrator.snippets.find import find_snippets

SIZES = {"tiny": (6, 36), "base": (8, 52)}  # decoder layers, width of a head
SHIFTS = range(0, FRAME, FRAME // 4)  # samples: where its frames begin depends on where it is cut


@dataclass(frozen=True)
class Sentence:
    """One recording and what is to be said of it."""

    audio: Array
    text: str


def make(folder: Path, size: str, tokenizer: Path, sentences: Sequence[Sentence]) -> None:
    """Write encoder_model.onnx and decoder_model_merged.onnx. size: tiny or base."""
    layers, head_width = SIZES[size]
    words = Tokenizer.from_file(str(tokenizer))
    tokens, seen = [], []
    for one in sentences:
        said = words.encode(one.text, add_special_tokens=False).ids
        for shift in SHIFTS:
            tokens.append(said)
            seen.append(features(np.pad(one.audio, (shift, 0))))
    folder.mkdir(parents=True, exist_ok=True)
    save(encoder(HEADS * head_width), folder / "encoder_model.onnx")
    save(decoder(layers, head_width, np.stack(seen), tokens), folder / "decoder_model_merged.onnx")


def shipped(folder: Path) -> list[Sentence]:
    """The recordings of a folder, as a worker hears them."""
    return [
        Sentence(np.concatenate(list(decode(one.audio, DecodedFacts()))), one.reference)
        for one in find_snippets(folder)
    ]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("env", type=Path, help="as `asrbench env build moonshine` printed it")
    parser.add_argument("--size", choices=SIZES, default="tiny")
    root = Path(__file__).resolve().parent.parent.parent
    parser.add_argument("--snippets", type=Path, default=root / "snippets" / "clean")
    given = parser.parse_args()
    make(given.folder, given.size, tokenizer_of(given.env), shipped(given.snippets))


def tokenizer_of(env: Path) -> Path:
    """The tokenizer that the env's library brings."""
    found = sorted(env.rglob("moonshine_onnx/assets/tokenizer.json"))
    if not found:
        raise SystemExit(f"{env} has no moonshine_onnx: asrbench env build moonshine prints one")
    return found[0]


if __name__ == "__main__":
    main()
