"""A tiny Phi-4-multimodal in the form that brings its own code: ours, in the place of Microsoft's.

    python make.py FOLDER

Runs in the stack's env. Microsoft's code cannot be had without its hub. What is the same: the
files' and classes' names, auto_map, the arguments and results of the processor, a LoRA within the
weights that the input's kind switches on. What is not: the speech encoder, and all it computes.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "checkpoints"))

COPIES = tempfile.TemporaryDirectory()  # of the code, by transformers: nobody else shall find them
os.environ["HF_MODULES_CACHE"] = COPIES.name

from tiny import TEXT_MODEL, tokenizer  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402

CODE = ("configuration_phi4mm.py", "modeling_phi4mm.py", "processing_phi4mm.py")
END = "<|endoftext|>"
AUDIO = "<|endoftext11|>"
SPECIAL = [END, AUDIO, "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
FRAME = 400
SPREAD = 0.5  # of random weights: with less of it, every answer is the same token


def main():
    """Make the folder."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    for name in CODE:
        shutil.copy(HERE / name, folder)
    words = tokenizer(SPECIAL, END, END, None)
    words.save_pretrained(folder)
    number = words.convert_tokens_to_ids
    ends = [number(END), number("<|end|>")]
    config = {
        "architectures": ["Phi4MMForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_phi4mm.Phi4MMConfig",
            "AutoModelForCausalLM": "modeling_phi4mm.Phi4MMForCausalLM",
        },
        "model_type": "phi4mm", "vocab_size": len(words), "audio_token_id": number(AUDIO),
        "frame": FRAME, "tie_word_embeddings": True, "initializer_range": SPREAD,
        "bos_token_id": ends[0], "pad_token_id": ends[0], "eos_token_id": ends, **TEXT_MODEL,
    }  # fmt: skip
    write(folder / "config.json", config)
    write(folder / "generation_config.json", {"eos_token_id": ends, "pad_token_id": ends[0]})
    parts = {
        "auto_map": {
            "AutoFeatureExtractor": "processing_phi4mm.Phi4MMAudioFeatureExtractor",
            "AutoProcessor": "processing_phi4mm.Phi4MMProcessor",
        },
        "feature_extractor_type": "Phi4MMAudioFeatureExtractor",
        "processor_class": "Phi4MMProcessor", "frame": FRAME,
    }  # fmt: skip
    write(folder / "preprocessor_config.json", parts)
    torch.manual_seed(1)
    settings = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForCausalLM.from_config(settings, trust_remote_code=True)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if ".lora_B." in name:  # zero as a rule when it is new
                weights.normal_(0, SPREAD)
    scratch = folder / "saved"
    model.save_pretrained(scratch)
    (scratch / "model.safetensors").rename(folder / "model.safetensors")
    shutil.rmtree(scratch)


def write(file, content):
    """As JSON."""
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
