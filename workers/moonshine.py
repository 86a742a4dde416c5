"""Moonshine: an encoder and a merged decoder for short English audio, on onnxruntime.

The model knows 0.1 to 64 s and loops beyond a certain length of text, without an error: so audio is
cut into pieces at pauses, and each piece may have as many tokens as its length allows.
"""

import math
import os
from types import SimpleNamespace

import numpy as np
import onnxruntime
from moonshine_onnx import MoonshineOnnxModel, load_tokenizer

from workers.cores import all_are_ours, usable_physical_cores
from workers.onnx_sessions import check_nodes, open_session, precision
from workers.segments import SAMPLE_RATE_HZ, segments

ENCODER, DECODER = "encoder_model.onnx", "decoder_model_merged.onnx"
SIZES = {6: ("tiny", 36), 8: ("base", 52)}  # decoder layers → name, width of a head; the library's
MIN_S, LIMIT_S = 0.1, 64.0  # the library's assert_audio_size()
LIMIT_TOKENS = 192  # what the decoder was made for


def load(checkpoint, device, size=None, threads=None, max_s=29.0, tokens_per_s=6.5):
    """size: "tiny" or "base", which the checkpoint then has to be. max_s: of one piece; the default
    is where LIMIT_TOKENS does not cut what tokens_per_s allows, the authors' rule, without which
    the model repeats itself.
    """
    if not 1.0 <= max_s < LIMIT_S or tokens_per_s <= 0:
        raise ValueError(
            f"max_s={max_s}, tokens_per_s={tokens_per_s}: max_s has to be from 1 to below "
            f"{LIMIT_S:.0f}, tokens_per_s above 0"
        )
    cores = usable_physical_cores()
    # 0 is onnxruntime's own number: all cores, and each thread bound to one, which is faster; it
    # does so with cores, too, that this process may not use
    asked = threads or (0 if all_are_ours() else cores)
    files = [_existing(checkpoint, name) for name in (ENCODER, DECODER)]
    encoder, decoder = (open_session(file, device, asked) for file in files)
    found = _size(encoder, decoder, checkpoint)
    if size not in (None, found):
        raise ValueError(f"{checkpoint} is Moonshine {found}, and this model is {size}")
    tokenizer = load_tokenizer()
    _check_tokenizer(decoder, tokenizer, checkpoint)
    return SimpleNamespace(
        library=_library_model(dict(zip(files, (encoder, decoder))), checkpoint, found),
        tokenizer=tokenizer,
        max_s=max_s,
        tokens_per_s=tokens_per_s,
        details={
            "device": device,
            "precision": precision((encoder, decoder)),
            "size": found,
            "threads": threads or cores,
            "max_s": max_s,
            "tokens_per_s": tokens_per_s,
            "runtime": f"onnxruntime {onnxruntime.__version__}",
            **check_nodes((encoder, decoder), device),
        },
    )


def describe(model):
    return model.details


def transcribe(model, audio):
    texts, capped = [], 0
    pieces = segments(audio, model.max_s)
    for piece in pieces:
        tokens = token_ids(model, piece)
        capped += bool(tokens) and tokens[-1] != model.library.eos_token_id
        texts.append(model.tokenizer.decode(tokens).strip())
    text = " ".join(text for text in texts if text)
    return {"text": text, "pieces": len(pieces), "cut_off": capped}


def token_ids(model, piece):
    """What the decoder says of one piece, from its start token on; none where there is no sound."""
    if not np.isfinite(piece).all():
        piece = np.nan_to_num(piece, nan=0.0, posinf=1.0, neginf=-1.0)
    piece_s = len(piece) / SAMPLE_RATE_HZ
    if piece_s < MIN_S or not piece.any():
        return []
    most = min(math.ceil(piece_s * model.tokens_per_s), LIMIT_TOKENS)
    return model.library.generate(piece[np.newaxis], max_len=most)[0]


def _existing(checkpoint, name):
    file = f"{checkpoint}/{name}"  # as the library spells it
    if not os.path.isfile(file):
        raise FileNotFoundError(
            f"{checkpoint} has no {name}: a Moonshine checkpoint is a folder with {ENCODER} and "
            f"{DECODER}"
        )
    return file


def _size(encoder, decoder, checkpoint):
    """tiny or base, by what the decoder asks for."""
    shapes = {one.name: one.shape for one in decoder.get_inputs()}
    keys = [shape for name, shape in shapes.items() if name.endswith(".decoder.key")]
    size, width = SIZES.get(len(keys), (None, None))
    if size is None or _differ(keys[0][-1], width):
        raise ValueError(
            f"{checkpoint} is no Moonshine of a known size: its decoder has {len(keys)} layers "
            f"with heads of {keys[0][-1] if keys else 0}; tiny has 6 with 36, base 8 with 52"
        )
    given, taken = encoder.get_outputs()[0].shape[-1], shapes["encoder_hidden_states"][-1]
    if _differ(given, taken):
        raise ValueError(
            f"{checkpoint}: {ENCODER} gives {given} numbers for each frame and {DECODER} takes "
            f"{taken}: they are of different models"
        )
    return size


def _check_tokenizer(decoder, tokenizer, checkpoint):
    """The library brings the tokenizer, and would decode any numbers with it."""
    scored, known = decoder.get_outputs()[0].shape[-1], tokenizer.get_vocab_size()
    if _differ(scored, known):
        raise ValueError(
            f"{checkpoint}: {DECODER} scores {scored} tokens, and the library's tokenizer has "
            f"{known}: it is of another model"
        )


def _differ(one, other):
    """Two lengths of an axis; one that a file leaves open has a name, or none."""
    return isinstance(one, int) and isinstance(other, int) and one != other


def _library_model(sessions, checkpoint, size):
    """The library's model on these sessions: its own would have no provider and no thread count."""
    original = onnxruntime.InferenceSession
    onnxruntime.InferenceSession = sessions.__getitem__
    try:
        return MoonshineOnnxModel(models_dir=checkpoint, model_name=size)
    finally:
        onnxruntime.InferenceSession = original
