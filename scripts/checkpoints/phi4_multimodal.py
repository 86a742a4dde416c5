"""A tiny Phi-4-multimodal with random weights and a speech LoRA, in the hub's file layout.

    python phi4_multimodal.py FOLDER [SCALE]

Runs in the stack's env. The adapter lies in speech-lora/, as the hub has it.
"""

import sys
from pathlib import Path

import torch
from peft import LoraConfig
from tiny import SCALE, SPREAD, TEXT_MODEL, to_hub_layout, tokenizer
from transformers import (
    Phi4MultimodalConfig,
    Phi4MultimodalFeatureExtractor,
    Phi4MultimodalForCausalLM,
    Phi4MultimodalImageProcessor,
    Phi4MultimodalProcessor,
)

END = "<|endoftext|>"
NAMED = {"audio_token": "<|audio|>", "image_token": "<|image|>"}
SPECIAL = [END, "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", *NAMED.values()]
TEMPLATE = (
    "{% for one in messages %}<|{{ one['role'] }}|>{{ one['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
ADAPTED = r"model\.layers\.\d+\.(self_attn\.(qkv|o)_proj|mlp\.(gate_up|down)_proj)"


def main():
    """Make the folder."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    words = tokenizer(SPECIAL, END, END, TEMPLATE, bos_token=END, extra_special_tokens=NAMED)
    model = new_model(words)
    model.save_pretrained(folder)  # before it has an adapter, which would rename its weights
    Phi4MultimodalProcessor(
        Phi4MultimodalImageProcessor(), Phi4MultimodalFeatureExtractor(), words
    ).save_pretrained(folder)
    add_adapter(model, folder / "speech-lora")
    to_hub_layout(folder, NAMED)


def new_model(words):
    """Small and untrained."""
    number = words.convert_tokens_to_ids
    end = number(END)
    model = Phi4MultimodalForCausalLM(
        Phi4MultimodalConfig(
            vocab_size=len(words), max_position_embeddings=4096,
            original_max_position_embeddings=4096, bos_token_id=end, pad_token_id=end,
            eos_token_id=[end, number("<|end|>")], tie_word_embeddings=True,
            initializer_range=SPREAD,
            vision_config={
                "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                "num_attention_heads": 2, "crop_size": 28, "image_size": 28,
                "image_token_id": number("<|image|>"),
            },
            audio_config={
                "hidden_size": 32 * SCALE, "intermediate_size": 64 * SCALE, "num_blocks": 2,
                "num_attention_heads": 2, "ext_pw_out_channel": 32 * SCALE,
                "nemo_conv_channels": 32 * SCALE, "depthwise_separable_out_channel": 32 * SCALE,
                "bias_max_distance": 100,
                "audio_token_id": number("<|audio|>"), "initializer_range": SPREAD,
            },
            **TEXT_MODEL,
        )
    )  # fmt: skip
    model.generation_config.eos_token_id = [end, number("<|end|>")]
    return model


def add_adapter(model, folder):
    """Save a LoRA that changes something: B is zero as a rule when it is new."""
    model.add_adapter(LoraConfig(r=4, lora_alpha=8, target_modules=ADAPTED), "speech")
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if ".lora_B." in name:
                weights.normal_(0, SPREAD)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink()


if __name__ == "__main__":
    main()
