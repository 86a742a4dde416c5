"""Moonshine as its package's README uses it: its model, its tokenizer, its defaults."""

from pathlib import Path

from moonshine_onnx import MoonshineOnnxModel, load_tokenizer


def load(checkpoint):
    size = "base" if "base" in Path(checkpoint).name else "tiny"
    return MoonshineOnnxModel(models_dir=checkpoint, model_name=size), load_tokenizer()


def transcribe(loaded, audio):
    model, tokenizer = loaded
    return tokenizer.decode_batch(model.generate(audio[None]))[0]
