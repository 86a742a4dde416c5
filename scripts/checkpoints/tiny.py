"""What tiny checkpoints of language models share: a tokenizer, sizes, the hub's file layout."""

import json
import sys

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

WORDS = 384
CORPUS = [
    "We will meet on Tuesday morning at the station.",
    "can you transcribe the speech into a written format?",
    "Transcribe the audio clip into text.",
    "You are a helpful AI assistant. system user assistant",
]
SCALE = int(sys.argv[2]) if len(sys.argv) > 2 else 1  # so many times as wide
SPREAD = 0.5 / SCALE**0.5  # of random weights: with less of it, every answer is the same token
TEXT_MODEL = {
    "hidden_size": 64 * SCALE,
    "intermediate_size": 128 * SCALE,
    "num_hidden_layers": 2 if SCALE == 1 else 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
# of processor_config.json that the hub's older layout has in preprocessor_config.json
PARTS = ("feature_extractor", "audio_processor", "image_processor")


def tokenizer(special, end, pad, template, **more):
    """Byte-level, so that no text is unknown to it. special: its tokens besides."""
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS, initial_alphabet=alphabet, show_progress=False, min_frequency=1
    )
    words.train_from_iterator(CORPUS, trainer)
    words.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in special])
    made = PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token=end, pad_token=pad, padding_side="left", **more
    )
    made.chat_template = template
    return made


def to_hub_layout(folder, more_tokens=None):
    """Rewrite what transformers 5 saved to the files that hubs have, which 4 wrote.

    more_tokens: names of special tokens that the processor looks for, such as audio_token.
    """
    processor = folder / "processor_config.json"
    if processor.exists():
        config = json.loads(processor.read_text(encoding="utf-8"))
        name = config["processor_class"]
        parts = {}
        for part in PARTS:
            parts |= config.pop(part, {})
        _write(folder / "preprocessor_config.json", parts | {"processor_class": name})
        _write(processor, config)
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    added = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    config["added_tokens_decoder"] = {str(one.pop("id")): one for one in added}
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    config["model_input_names"] = ["input_ids", "attention_mask"]
    config["extra_special_tokens"] = more_tokens or {}
    for name in ("backend", "is_local"):
        config.pop(name, None)
    _write(file, config)


def _write(file, content):
    file.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
