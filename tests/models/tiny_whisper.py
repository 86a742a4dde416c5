"""A tiny scripted Whisper in the hub's layout, without torch: it says TEXT, whatever it hears.

Encoder and attention have random weights and are computed in full, but the decoder adds nothing of
them to what it says: each token leads to the next one. So its text proves tokens, embeddings and
decoding in each window; not what depends on the audio.
"""

from __future__ import annotations

import itertools
import json

import numpy as np
from safetensors.numpy import save_file

WIDTH, HEADS, MELS = 64, 2, 128
VOCABULARY = 51_866  # of large-v3: whisper.cpp knows special tokens by their number
END, TRANSCRIBE, TIME_ZERO = 50_257, 50_360, 50_365
WORDS = [" one", " two", " café", " four"]
TEXT = "one two café four"
LAST_S = 1.0  # the timestamp after the words
CHAIN = [
    TRANSCRIBE, TIME_ZERO, *range(256, 256 + len(WORDS)), TIME_ZERO + round(LAST_S / 0.02), END,
]  # fmt: skip
LETTERS = [*range(33, 127), *range(161, 173), *range(174, 256)]  # bytes that are their own letter


def tiny_whisper(folder):
    """Write config.json, vocab.json and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "whisper", "vocab_size": VOCABULARY, "num_mel_bins": MELS, "d_model": WIDTH,
        "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": HEADS,
        "decoder_attention_heads": HEADS, "max_source_positions": 1500, "max_target_positions": 448,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    words = [bytes([byte]) for byte in range(256)] + [word.encode() for word in WORDS]
    vocabulary = {spelt(word): number for number, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    save_file(_weights(), folder / "model.safetensors")
    return folder


def spelt(word):
    """Bytes as byte-level BPE writes them: those without a letter of their own from U+0100 on."""
    others = [byte for byte in range(256) if byte not in LETTERS]
    return "".join(chr(b if b in LETTERS else 256 + others.index(b)) for b in word)


def _weights():
    random = np.random.default_rng(0)
    tensors = {
        name: random.normal(0, shape[-1] ** -0.5, shape).astype(np.float32)
        for name, shape in _shapes().items()
    }
    for name, weights in tensors.items():
        if "layer_norm" in name:
            weights[:] = name.endswith("weight")
        if "decoder" in name and any(part in name for part in ("out_proj", "fc1", "fc2")):
            weights[:] = 0
    embedding = tensors["model.decoder.embed_tokens.weight"]
    embedding -= embedding.mean(1, keepdims=True)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    # one hidden value of the decoder for each token of the chain, which leads to the next one
    layer = "model.decoder.layers.0"
    for number, (token, following) in enumerate(itertools.pairwise(CHAIN)):
        tensors[f"{layer}.fc1.weight"][number] = 10 * embedding[token]
        tensors[f"{layer}.fc1.bias"][number] = -50  # a norm of 8 comes in: 80 if it is this one
        tensors[f"{layer}.fc2.weight"][:, number] = embedding[following]
    tensors["model.decoder.embed_positions.weight"][:] = 0
    tensors["model.decoder.layer_norm.weight"][:] = 4
    return tensors


def _shapes():
    shapes = {
        "encoder.conv1.weight": (WIDTH, MELS, 3), "encoder.conv1.bias": (WIDTH,),
        "encoder.conv2.weight": (WIDTH, WIDTH, 3), "encoder.conv2.bias": (WIDTH,),
        "encoder.embed_positions.weight": (1500, WIDTH),
        "decoder.embed_positions.weight": (448, WIDTH),
        "decoder.embed_tokens.weight": (VOCABULARY, WIDTH),
    }  # fmt: skip
    attentions = {"encoder": ["self_attn"], "decoder": ["self_attn", "encoder_attn"]}
    for side, names in attentions.items():
        layer = f"{side}.layers.0"
        for attention in names:
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                shapes[f"{layer}.{attention}.{part}.weight"] = (WIDTH, WIDTH)
                if part != "k_proj":
                    shapes[f"{layer}.{attention}.{part}.bias"] = (WIDTH,)
        for norm in (*(f"{one}_layer_norm" for one in names), "final_layer_norm"):
            shapes |= {f"{layer}.{norm}.weight": (WIDTH,), f"{layer}.{norm}.bias": (WIDTH,)}
        shapes |= {f"{side}.layer_norm.weight": (WIDTH,), f"{side}.layer_norm.bias": (WIDTH,)}
        shapes |= {f"{layer}.fc1.weight": (4 * WIDTH, WIDTH), f"{layer}.fc1.bias": (4 * WIDTH,)}
        shapes |= {f"{layer}.fc2.weight": (WIDTH, 4 * WIDTH), f"{layer}.fc2.bias": (WIDTH,)}
    return {f"model.{name}": shape for name, shape in shapes.items()}
