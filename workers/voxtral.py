"""Mistral's Voxtral: a language model with Whisper's encoder, asked for a transcription."""

import transformers
from transformers import AutoProcessor, VoxtralForConditionalGeneration

from workers.segments import SAMPLE_RATE_HZ, segments
from workers.torch_model import (
    described,
    existing_folder,
    greedy,
    load_weights,
    torch_device,
    torch_precision,
    use_threads,
)


def load(checkpoint, device, precision="auto", attention="sdpa", threads=None):
    use_threads(threads)
    folder = existing_folder(checkpoint)
    place = torch_device(device)
    model = load_weights(
        VoxtralForConditionalGeneration,
        folder,
        place,
        torch_precision(precision, place, on_gpu="bfloat16"),
        attn_implementation=attention,
    )
    return model, AutoProcessor.from_pretrained(folder, local_files_only=True)


def describe(loaded):
    return described(loaded[0]) | {"transformers": transformers.__version__}


def transcribe(loaded, audio, language="en", longest_s=1800.0, tokens_per_s=10.0):
    """language: a code; None lets the model find out. longest_s: what the model takes in one go.
    tokens_per_s: a text that would be longer is a loop, and is cut off.
    """
    pieces = segments(audio, longest_s)
    done = [_piece(loaded, piece, language, tokens_per_s) for piece in pieces if len(piece)]
    return {
        "text": " ".join(text for text, _ in done if text),
        "pieces": len(pieces),
        "cut_off": sum(cut for _, cut in done),
    }


def _piece(loaded, audio, language, tokens_per_s):
    model, processor = loaded
    inputs = processor.apply_transcription_request(
        language=language,
        audio=[audio],
        format=["WAV"],
        sampling_rate=SAMPLE_RATE_HZ,
        model_id=model.config.model_type,  # only mentioned in the request
    )
    ids, cut = greedy(model, inputs, tokens_per_s * len(audio) / SAMPLE_RATE_HZ)
    return processor.tokenizer.decode(ids, skip_special_tokens=True).strip(), cut
