"""A tiny Voxtral with random weights, in the hub's file layout.

    python voxtral.py FOLDER [SCALE]

Runs in the stack's env.
"""

import base64
import json
import sys
from pathlib import Path

import torch
from tiny import CORPUS, SCALE, SPREAD, TEXT_MODEL
from transformers import (
    GenerationConfig,
    VoxtralConfig,
    VoxtralForConditionalGeneration,
    WhisperFeatureExtractor,
)

MELS = 128
SPECIAL = 100
# their numbers are fixed by mistral-common; all others are fillers
NAMES = {
    0: "<unk>", 1: "<s>", 2: "</s>", 3: "[INST]", 4: "[/INST]", 5: "[AVAILABLE_TOOLS]",
    6: "[/AVAILABLE_TOOLS]", 7: "[TOOL_RESULTS]", 8: "[/TOOL_RESULTS]", 9: "[TOOL_CALLS]",
    10: "[IMG]", 11: "<pad>", 12: "[IMG_BREAK]", 13: "[IMG_END]", 14: "[PREFIX]", 15: "[MIDDLE]",
    16: "[SUFFIX]", 17: "[SYSTEM_PROMPT]", 18: "[/SYSTEM_PROMPT]", 19: "[TOOL_CONTENT]",
    24: "[AUDIO]", 25: "[BEGIN_AUDIO]", 32: "[ARGS]", 33: "[CALL_ID]", 34: "[TRANSCRIBE]",
}  # fmt: skip
BEGIN_ID, END_ID, PAD_ID, AUDIO_ID = 1, 2, 11, 24


def main():
    """Make the folder."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    vocabulary = write_tokenizer(folder / "tekken.json")
    extractor = WhisperFeatureExtractor(feature_size=MELS).to_dict()
    extractor["processor_class"] = "VoxtralProcessor"
    text = json.dumps(extractor, indent=1)
    (folder / "preprocessor_config.json").write_text(text, encoding="utf-8")
    numbers = {"bos_token_id": BEGIN_ID, "eos_token_id": END_ID, "pad_token_id": PAD_ID}
    model = VoxtralForConditionalGeneration(
        VoxtralConfig(
            audio_config={
                "model_type": "voxtral_encoder", "vocab_size": vocabulary,
                "hidden_size": 32 * SCALE,
                "intermediate_size": 128 * SCALE, "num_hidden_layers": 1,
                "num_attention_heads": 2, "num_mel_bins": MELS, "max_source_positions": 1500,
            },
            text_config={
                "model_type": "llama", "vocab_size": vocabulary, "head_dim": 16 * SCALE,
                "max_position_embeddings": 131072, "initializer_range": SPREAD, **numbers,
                **TEXT_MODEL,
            },
            audio_token_id=AUDIO_ID,
        )
    )  # fmt: skip
    model.generation_config = GenerationConfig(**numbers)
    model.save_pretrained(folder)


def write_tokenizer(file):
    """Mistral's own format: bytes, some pairs of them, special tokens. Returns how many."""
    pairs = sorted({text[at : at + 2].encode() for text in CORPUS for at in range(len(text) - 1)})
    words = [bytes([byte]) for byte in range(256)] + pairs
    content = {
        "config": {
            "pattern": r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+"
            r"|\s+(?!\S)|\s+",
            "num_vocab_tokens": len(words),
            "default_vocab_size": len(words) + SPECIAL,
            "default_num_special_tokens": SPECIAL,
            "version": "v7",
        },
        "vocab": [
            {
                "rank": rank,
                "token_bytes": base64.b64encode(word).decode("ascii"),
                "token_str": word.decode("ascii") if word.isascii() else None,
            }
            for rank, word in enumerate(words)
        ],
        "special_tokens": [
            {"rank": rank, "token_str": NAMES.get(rank, f"<SPECIAL_{rank}>"), "is_control": True}
            for rank in range(SPECIAL)
        ],
        "audio": {
            "sampling_rate": 16000,
            "frame_rate": 12.5,
            "audio_encoding_config": {
                "num_mel_bins": MELS,
                "hop_length": 160,
                "window_size": 400,
            },
            "chunk_length_s": 30.0,
        },
    }
    file.write_text(json.dumps(content), encoding="utf-8")
    return len(words) + SPECIAL


if __name__ == "__main__":
    main()
