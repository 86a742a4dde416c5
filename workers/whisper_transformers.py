"""Whisper and its descendants (Distil-Whisper) by transformers.

Up to 30 s are one window. Longer audio goes through Whisper's own long form: window after window,
each beginning where the timestamps of the one before it end. Very long audio is first cut at
pauses, so that memory does not grow with it.
"""

import torch
import transformers
from transformers import AutoProcessor, WhisperForConditionalGeneration

from workers.pieces import in_pieces, joined
from workers.segments import SAMPLE_RATE_HZ
from workers.tokenizer import check_tokenizer, require_tokenizer
from workers.torch_model import (
    described,
    existing_folder,
    load_weights,
    torch_device,
    torch_precision,
    use_threads,
)

WINDOW_S = 30.0
# openai-whisper's: tried one after the other while a text repeats itself or is improbable
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
COMPRESSION_LIMIT = 1.35  # of token ids, as distil-large-v3's authors publish it
LOGPROB_LIMIT = -1.0
NO_SPEECH_LIMIT = 0.6


def load(checkpoint, device, precision="auto", attention="sdpa", threads=None):
    use_threads(threads)
    folder = existing_folder(checkpoint)
    place = torch_device(device)
    model = load_weights(
        WhisperForConditionalGeneration,
        folder,
        place,
        torch_precision(precision, place, on_gpu="float16"),
        attn_implementation=attention,
    )
    check_generation(folder, model.generation_config)
    require_tokenizer(folder, "tokenizer.json", "vocab.json")
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    check_prompt(folder, processor.tokenizer, model.generation_config)
    check_tokenizer(folder, processor.tokenizer, model)
    # Whisper's own limit for a window; without any, transformers stops after 20 tokens
    model.generation_config.max_length = model.config.max_target_positions
    return model, processor


def check_generation(folder, config):
    """Raises RuntimeError without what transformers needs for Whisper's prompts and timestamps."""
    lacking = {"is_multilingual", "no_timestamps_token_id"} - set(config.to_dict())
    if lacking:
        raise RuntimeError(
            f"{folder}: its generation_config.json is not there, or no Whisper's: it lacks "
            f"{', '.join(sorted(lacking))}; take that of the model it was made from"
        )


def check_prompt(folder, tokenizer, config):
    """Raises RuntimeError if tokens of the prompt have other ids, as each text is empty then."""
    found = tokenizer.get_vocab()
    wanted = {
        "<|startoftranscript|>": config.decoder_start_token_id,
        "<|notimestamps|>": config.no_timestamps_token_id,
    }
    for token, number in wanted.items():
        if found.get(token) != number:
            raise RuntimeError(
                f"{folder}: its tokenizer is of another model: {token} is "
                f"{found.get(token)} in it, and {number} in generation_config.json"
            )


def describe(loaded):
    return described(loaded[0]) | {"transformers": transformers.__version__}


def transcribe(loaded, audio, **options):
    return transcribe_batch(loaded, [audio], **options)[0]


def transcribe_batch(
    loaded, audios, language="en", task="transcribe", beams=1, fallback=False, longest_s=1800.0
):
    """fallback: sample at higher temperatures where the text is bad. longest_s: in one go."""
    settings = {"num_beams": beams, "do_sample": False}
    if loaded[0].generation_config.is_multilingual:
        settings |= {"language": language, "task": task}
    answers = in_pieces(
        audios, longest_s, lambda pieces: _answers(loaded, pieces, settings, fallback)
    )
    return [
        {
            "text": joined(text for text, _, _ in one),
            "pieces": len(one),
            "windows": sum(windows for _, windows, _ in one),
            "cut_off": sum(cut for _, _, cut in one),  # texts that reached the model's limit
        }
        for one in answers
    ]


def _answers(loaded, pieces, settings, fallback):
    """Of each its text, windows, and how many of them hit the limit of tokens.

    The longest come first. What fits into one window does not wait for long form's many.
    """
    count = sum(len(piece) > WINDOW_S * SAMPLE_RATE_HZ for piece in pieces)
    answers = []
    if pieces[:count]:
        long_form = settings | {"return_timestamps": True, "condition_on_prev_tokens": False}
        if fallback:
            long_form |= {
                "temperature": TEMPERATURES,
                "compression_ratio_threshold": COMPRESSION_LIMIT,
                "logprob_threshold": LOGPROB_LIMIT,
                "no_speech_threshold": NO_SPEECH_LIMIT,
            }
        answers += _generated(loaded, pieces[:count], long_form, padding="longest")
    if pieces[count:]:
        answers += _generated(loaded, pieces[count:], settings, padding="max_length")
    return answers


def _generated(loaded, pieces, settings, padding):
    model, processor = loaded
    torch.manual_seed(0)
    features = processor(
        pieces,
        sampling_rate=SAMPLE_RATE_HZ,
        return_tensors="pt",
        return_attention_mask=True,
        truncation=padding == "max_length",
        padding=padding,
    ).to(model.device, model.dtype)
    with torch.inference_mode():
        found = model.generate(**features, **settings, return_segments=True)
    texts = processor.batch_decode(found["sequences"], skip_special_tokens=True)
    # with the prompt; the end token is no sign, as it is taken away where a window follows
    full = model.config.max_target_positions - 1
    answers = []
    for text, segments in zip(texts, found["segments"]):
        # segments of one window share its tokens
        windows = {id(one["result"]): one["result"] for one in segments}.values()
        answers.append((text.strip(), len(windows), sum(len(one) >= full for one in windows)))
    return answers
