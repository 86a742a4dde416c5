"""IBM Granite Speech: a language model with a speech encoder, and a LoRA for speech."""

import numpy as np
import torch
import torchaudio  # noqa: F401  so that a broken one shows when the env is checked
import transformers
from transformers import AutoProcessor, GraniteSpeechForConditionalGeneration

from workers.lora import WITHOUT, load_lora, lora_layers, refuse_lora
from workers.pieces import in_pieces, joined
from workers.segments import SAMPLE_RATE_HZ
from workers.tokenizer import check_tokenizer, require_tokenizer
from workers.torch_model import (
    described,
    existing_folder,
    generated,
    load_weights,
    torch_device,
    torch_precision,
    use_threads,
)

# of the model's card
SYSTEM = (
    "Knowledge Cutoff Date: April 2024.\nToday's Date: April 9, 2025.\n"
    "You are Granite, developed by IBM. You are a helpful AI assistant"
)
PROMPT = "can you transcribe the speech into a written format?"
SHORTEST_S = 0.1  # shorter audio is filled up with silence, as the encoder needs a few frames


def load(checkpoint, device, precision="auto", attention="sdpa", threads=None):
    use_threads(threads)
    folder = existing_folder(checkpoint)
    place = torch_device(device)
    model = load_weights(
        GraniteSpeechForConditionalGeneration,
        folder,
        place,
        torch_precision(precision, place, on_gpu="bfloat16"),
        attn_implementation=attention,
        **WITHOUT,
    )
    if model.config.has_lora_adapter:
        load_lora(model, folder)
    else:
        refuse_lora(folder)
    require_tokenizer(folder, "tokenizer.json", "vocab.json")
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    if not processor.tokenizer.chat_template:
        raise FileNotFoundError(
            f"{folder} has no chat_template.jinja: the prompt's form is missing"
        )
    processor.tokenizer.padding_side = "left"  # answers follow their prompts
    check_tokenizer(folder, processor.tokenizer, model)
    return model, processor


def describe(loaded):
    found = {"transformers": transformers.__version__, "lora_layers": lora_layers(loaded[0])}
    return described(loaded[0]) | found


def transcribe(loaded, audio, **options):
    return transcribe_batch(loaded, [audio], **options)[0]


def transcribe_batch(loaded, audios, prompt=PROMPT, longest_s=30.0, tokens_per_s=10.0, beams=1):
    """longest_s: of a piece; the model has no rule of its own for long audio. tokens_per_s: a text
    that would be longer is a loop, and is cut off.
    """
    answers = in_pieces(
        audios, longest_s, lambda pieces: _answers(loaded, pieces, prompt, tokens_per_s, beams)
    )
    return [
        {
            "text": joined(text for text, _ in one),
            "pieces": len(one),
            "cut_off": sum(cut for _, cut in one),
        }
        for one in answers
    ]


def _answers(loaded, pieces, prompt, tokens_per_s, beams):
    model, processor = loaded
    chat = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"{processor.audio_token}{prompt}"},
    ]
    text = processor.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    audios = [torch.from_numpy(_not_too_short(piece)) for piece in pieces]
    inputs = processor([text] * len(pieces), audios, return_tensors="pt", padding=True)
    limits = [tokens_per_s * len(piece) / SAMPLE_RATE_HZ for piece in pieces]
    return [
        (processor.tokenizer.decode(ids, skip_special_tokens=True).strip(), cut)
        for ids, cut in generated(model, inputs, limits, beams)
    ]


def _not_too_short(piece):
    missing = int(SHORTEST_S * SAMPLE_RATE_HZ) - len(piece)
    return np.pad(piece, (0, missing)) if missing > 0 else piece
