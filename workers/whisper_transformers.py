"""Whisper and its descendants (Distil-Whisper) by transformers.

Up to 30 s are one window. Longer audio goes through Whisper's own long form: window after window,
each beginning where the timestamps of the one before it end. Very long audio is first cut at
pauses, so that memory does not grow with it.
"""

import torch
import transformers
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

from workers.segments import SAMPLE_RATE_HZ, segments
from workers.torch_model import (
    check_tokenizer,
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
        AutoModelForSpeechSeq2Seq,
        folder,
        place,
        torch_precision(precision, place, on_gpu="float16"),
        attn_implementation=attention,
    )
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    check_tokenizer(folder, processor.tokenizer, model)
    model.generation_config.max_length = None  # max_new_tokens is meant, and is Whisper's own limit
    return model, processor


def describe(loaded):
    return described(loaded[0]) | {"transformers": transformers.__version__}


def transcribe(
    loaded, audio, language="en", task="transcribe", beams=1, fallback=False, longest_s=1800.0
):
    """fallback: sample at higher temperatures where the text is bad. longest_s: in one go."""
    torch.manual_seed(0)
    settings = {"num_beams": beams, "do_sample": False}
    if loaded[0].generation_config.is_multilingual:
        settings |= {"language": language, "task": task}
    pieces = segments(audio, longest_s)
    done = [_piece(loaded, piece, settings, fallback) for piece in pieces if len(piece)]
    return {
        "text": " ".join(text for text, _, _ in done if text),
        "pieces": len(pieces),
        "windows": sum(windows for _, windows, _ in done),
        "cut_off": sum(cut for _, _, cut in done),  # texts that reached the model's limit
    }


def _piece(loaded, audio, settings, fallback):
    """Text, windows, and how many of them hit the limit of tokens."""
    model, processor = loaded
    long = len(audio) > WINDOW_S * SAMPLE_RATE_HZ
    if long:
        settings = settings | {"return_timestamps": True, "condition_on_prev_tokens": False}
        if fallback:
            settings |= {
                "temperature": TEMPERATURES,
                "compression_ratio_threshold": COMPRESSION_LIMIT,
                "logprob_threshold": LOGPROB_LIMIT,
                "no_speech_threshold": NO_SPEECH_LIMIT,
            }
    features = processor(
        audio,
        sampling_rate=SAMPLE_RATE_HZ,
        return_tensors="pt",
        return_attention_mask=True,
        truncation=not long,
        padding="longest" if long else "max_length",
    ).to(model.device, model.dtype)
    with torch.inference_mode():
        found = model.generate(**features, **settings, return_segments=True)
    text = processor.batch_decode(found["sequences"], skip_special_tokens=True)[0].strip()
    # segments of one window share its tokens
    windows = {id(one["result"]): one["result"] for one in found["segments"][0]}.values()
    # with the prompt; the end token is no sign, as it is taken away where a window follows
    full = model.config.max_target_positions - 1
    return text, len(windows), sum(len(window) >= full for window in windows)
