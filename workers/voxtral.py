"""Mistral's Voxtral: a language model with Whisper's encoder, asked for a transcription."""

import transformers
from transformers import AutoProcessor, VoxtralForConditionalGeneration

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
    require_tokenizer(folder, "tekken.json")
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    check_tokenizer(folder, processor.tokenizer, model)
    return model, processor


def describe(loaded):
    return described(loaded[0]) | {"transformers": transformers.__version__}


def transcribe(loaded, audio, **options):
    return transcribe_batch(loaded, [audio], **options)[0]


def transcribe_batch(loaded, audios, language="en", longest_s=1800.0, tokens_per_s=10.0, beams=1):
    """language: a code; None lets the model find out. longest_s: what the model takes in one go.
    tokens_per_s: a text that would be longer is a loop, and is cut off.
    """
    answers = in_pieces(
        audios, longest_s, lambda pieces: _answers(loaded, pieces, language, tokens_per_s, beams)
    )
    return [
        {
            "text": joined(text for text, _ in one),
            "pieces": len(one),
            "cut_off": sum(cut for _, cut in one),
        }
        for one in answers
    ]


def _answers(loaded, pieces, language, tokens_per_s, beams):
    model, processor = loaded
    inputs = processor.apply_transcription_request(
        language=language,
        audio=list(pieces),
        format=["WAV"] * len(pieces),
        sampling_rate=SAMPLE_RATE_HZ,
        model_id=model.config.model_type,  # only mentioned in the request
    )
    limits = [tokens_per_s * len(piece) / SAMPLE_RATE_HZ for piece in pieces]
    return [
        (processor.tokenizer.decode(ids, skip_special_tokens=True).strip(), cut)
        for ids, cut in generated(model, inputs, limits, beams)
    ]
