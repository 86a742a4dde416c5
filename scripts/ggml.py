"""A Whisper in the hub's layout, written as whisper.cpp's ggml file: f16, or Q5_0.

    python scripts/ggml.py FOLDER FILE [--q5-0]

FOLDER has config.json, model.safetensors, and vocab.json or tokenizer.json. Needs numpy and
safetensors, and neither torch nor transformers.
"""

from __future__ import annotations

import argparse
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

Weights = NDArray[Any]

MAGIC = 0x67676D6C
F32, F16, Q5_0 = 0, 1, 6  # ggml's types of tensors
FILE_F16, FILE_Q5_0 = 1, 2008  # of files: for 2008, layout 2 of the quantised type 8
BLOCK = 32  # values that Q5_0 packs together
RATE_HZ, FFT = 16_000, 400
# whisper.cpp knows special tokens by their number alone: they begin here, and their meaning follows
# from how many there are in all
WORDS_END, ENGLISH_WORDS_END, MULTILINGUAL = 50_257, 50_256, 51_865
# the hub's part of a name → whisper.cpp's
_NAMES = (
    ("model.", ""), (".layers.", ".blocks."), ("encoder_attn_layer_norm", "cross_attn_ln"),
    ("self_attn_layer_norm", "attn_ln"), ("final_layer_norm", "mlp_ln"),
    ("self_attn.q_proj", "attn.query"), ("self_attn.k_proj", "attn.key"),
    ("self_attn.v_proj", "attn.value"), ("self_attn.out_proj", "attn.out"),
    ("encoder_attn.q_proj", "cross_attn.query"), ("encoder_attn.k_proj", "cross_attn.key"),
    ("encoder_attn.v_proj", "cross_attn.value"), ("encoder_attn.out_proj", "cross_attn.out"),
    ("fc1", "mlp.0"), ("fc2", "mlp.2"), ("decoder.layer_norm.", "decoder.ln."),
    ("encoder.layer_norm.", "encoder.ln_post."), ("embed_tokens", "token_embedding"),
    ("embed_positions.weight", "positional_embedding"),
)  # fmt: skip


def write_ggml(source: Path, target: Path, quantised: bool = False) -> None:
    """Write the ggml file of the Whisper in the folder source; quantised: to Q5_0."""
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    vocabulary = config["vocab_size"]
    mels = mel_filters(config["num_mel_bins"])
    with target.open("wb") as file:
        _ints(
            file, MAGIC, vocabulary, config["max_source_positions"], config["d_model"],
            config["encoder_attention_heads"], config["encoder_layers"],
            config["max_target_positions"], config["d_model"], config["decoder_attention_heads"],
            config["decoder_layers"], len(mels), FILE_Q5_0 if quantised else FILE_F16,
        )  # fmt: skip
        _ints(file, *mels.shape)
        file.write(mels.astype("<f4").tobytes())
        words = _words(source, vocabulary)
        _ints(file, len(words))
        for word in words:
            _ints(file, len(word))
            file.write(word)
        for name, weights in _tensors(source):
            _write_tensor(file, name, weights, quantised)


def mel_filters(count: int) -> NDArray[np.float32]:
    """Triangles on Slaney's mel scale, each of the same area: count × (FFT / 2 + 1)."""
    bins_hz = np.linspace(0, RATE_HZ / 2, FFT // 2 + 1)
    edges_hz = _hz(np.linspace(0, _mel(RATE_HZ / 2), count + 2))
    widths = np.diff(edges_hz)
    away = edges_hz[:, None] - bins_hz
    rising, falling = -away[:-2] / widths[:-1, None], away[2:] / widths[1:, None]
    areas = 2 / (edges_hz[2:] - edges_hz[:-2])
    triangles = np.maximum(0, np.minimum(rising, falling)) * areas[:, None]
    return np.asarray(triangles, np.float32)


def _mel(hz: float) -> float:
    """Linear up to 1 kHz, then 27 steps for each factor of 6.4."""
    return float(hz * 3 / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4))


def _hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27)))


def _words(source: Path, vocabulary: int) -> list[bytes]:
    """The bytes of each token below the special ones; a number without a word gets none."""
    if (source / "vocab.json").is_file():
        numbers = json.loads((source / "vocab.json").read_text(encoding="utf-8"))
    else:
        content = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
        numbers = content["model"]["vocab"]
    end = WORDS_END if vocabulary >= MULTILINGUAL else ENGLISH_WORDS_END
    alphabet = {letter: byte for byte, letter in _letters()}
    words = [b""] * end
    for word, number in numbers.items():
        if number < end:
            words[number] = bytes(alphabet[letter] for letter in word)
    if b" " not in words:
        raise ValueError(f"{source}: whisper.cpp needs a token that is one space, and none is")
    return words


def _letters() -> Iterator[tuple[int, str]]:
    """Each byte and the letter that byte-level BPE writes for it."""
    spare = 256
    for byte in range(256):
        if 33 <= byte <= 126 or (byte >= 161 and byte != 173):
            yield byte, chr(byte)
        else:
            yield byte, chr(spare)
            spare += 1


def _tensors(source: Path) -> Iterator[tuple[str, Weights]]:
    for name, weights in load_file(source / "model.safetensors").items():
        if name == "proj_out.weight":  # the same as token_embedding
            continue
        ours = name
        for old, new in _NAMES:
            ours = ours.replace(old, new)
        column = ours in ("encoder.conv1.bias", "encoder.conv2.bias")
        yield ours, weights.reshape(-1, 1) if column else weights


def _write_tensor(file: BinaryIO, name: str, weights: Weights, quantised: bool) -> None:
    kind = F32
    if weights.ndim >= 2 and not name.endswith((".bias", "positional_embedding")):
        kind = Q5_0 if quantised and weights.ndim == 2 else F16
    encoded = name.encode("ascii")
    _ints(file, weights.ndim, len(encoded), kind, *reversed(weights.shape))
    file.write(encoded)
    if kind == Q5_0:
        file.write(q5_0(weights))
    else:
        file.write(weights.astype("<f2" if kind == F16 else "<f4").tobytes())


def q5_0(weights: Weights) -> bytes:
    """Blocks of 32 values: one f16 scale, the fifth bits of all, the four lower ones in pairs.

    The value with the largest magnitude becomes -16 exactly, so the scale has the other sign.
    """
    if weights.shape[-1] % BLOCK:
        raise ValueError(f"Q5_0 takes rows of a multiple of {BLOCK}, not of {weights.shape[-1]}")
    blocks = weights.astype(np.float16).astype(np.float32).reshape(-1, BLOCK)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(1)[:, None], 1)
    scale = largest / -16
    steps = np.divide(blocks, scale, out=np.zeros_like(blocks), where=scale != 0)
    numbers = np.clip(np.floor(steps + 16.5), 0, 31).astype(np.uint8)
    packed = np.zeros(len(blocks), [("scale", "<f2"), ("fifth", "<u4"), ("low", "u1", BLOCK // 2)])
    packed["scale"] = scale[:, 0]
    fifth = (numbers >> 4).astype(np.uint64) << np.arange(BLOCK, dtype=np.uint64)
    packed["fifth"] = fifth.sum(1)
    low = numbers & 15
    packed["low"] = low[:, : BLOCK // 2] | (low[:, BLOCK // 2 :] << 4)
    return packed.tobytes()


def _ints(file: BinaryIO, *numbers: int) -> None:
    file.write(struct.pack(f"<{len(numbers)}i", *numbers))


def main() -> None:
    """Convert one folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--q5-0", action="store_true")
    given = parser.parse_args()
    write_ggml(given.folder, given.file, given.q5_0)


if __name__ == "__main__":
    main()
