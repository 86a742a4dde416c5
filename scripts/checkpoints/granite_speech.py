"""A tiny Granite Speech with random weights and a LoRA, in the hub's file layout.

    python granite_speech.py FOLDER [SCALE]

Runs in the stack's env. Its base weights have plain names and its adapter the hub's older ones.
"""

import sys
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from tiny import SCALE, SPREAD, TEXT_MODEL, to_hub_layout, tokenizer
from transformers import (
    GraniteConfig,
    GraniteSpeechConfig,
    GraniteSpeechFeatureExtractor,
    GraniteSpeechForConditionalGeneration,
    GraniteSpeechProcessor,
)

END = "<|end_of_text|>"
TEMPLATE = (
    "{% for one in messages %}<|start_of_role|>{{ one['role'] }}<|end_of_role|>"
    "{{ one['content'] }}<|end_of_text|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}"
)
SPECIAL = [END, "<|start_of_role|>", "<|end_of_role|>", "<|audio|>"]


def main():
    """Make the folder."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    words = tokenizer(SPECIAL, END, END, TEMPLATE, bos_token=END)
    end = words.eos_token_id
    model = GraniteSpeechForConditionalGeneration(
        GraniteSpeechConfig(
            text_config=GraniteConfig(
                vocab_size=len(words), max_position_embeddings=4096, bos_token_id=end,
                eos_token_id=end, pad_token_id=end, tie_word_embeddings=True,
                initializer_range=SPREAD, **TEXT_MODEL,
            ).to_dict(),
            encoder_config={
                "input_dim": 160, "num_layers": 2, "hidden_dim": 32 * SCALE, "num_heads": 2,
                "dim_head": 16 * SCALE, "output_dim": 16, "feedforward_mult": 2, "context_size": 50,
                "max_pos_emb": 64, "conv_kernel_size": 7,
            },
            projector_config={
                "model_type": "blip_2_qformer", "hidden_size": 32 * SCALE, "num_hidden_layers": 1,
                "num_attention_heads": 2, "intermediate_size": 64 * SCALE,
                "encoder_hidden_size": 32 * SCALE,
                "cross_attention_frequency": 1, "vocab_size": 1,
            },
            audio_token_index=words.convert_tokens_to_ids("<|audio|>"),
            has_lora_adapter=True, initializer_range=SPREAD,
        )
    )  # fmt: skip
    processor = GraniteSpeechProcessor(GraniteSpeechFeatureExtractor(), words)
    model.save_pretrained(str(folder))  # before it has an adapter, which would rename its weights
    processor.save_pretrained(folder)
    add_adapter(model, folder)
    to_hub_layout(folder)


def add_adapter(model, folder):
    """Save a LoRA that changes something: B is zero as a rule when it is new."""
    base = (folder / "model.safetensors").read_bytes()
    places = r".*language_model.*\.(q_proj|v_proj)"
    model.add_adapter(LoraConfig(r=4, lora_alpha=8, target_modules=places))
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if ".lora_B." in name:
                weights.normal_(0, SPREAD)
    model.save_pretrained(str(folder))
    (folder / "model.safetensors").write_bytes(base)
    file = folder / "adapter_model.safetensors"
    now, then = "model.language_model.layers", "language_model.model.layers"
    weights = {name.replace(now, then): value for name, value in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})


if __name__ == "__main__":
    main()
