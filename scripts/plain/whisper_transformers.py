"""Distil-Whisper as its card and transformers' documentation use it, up to 30 s."""

import torch
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor


def load(checkpoint):
    model = AutoModelForSpeechSeq2Seq.from_pretrained(checkpoint, dtype=torch.float32)
    return model, AutoProcessor.from_pretrained(checkpoint)


def transcribe(loaded, audio):
    model, processor = loaded
    inputs = processor(audio, sampling_rate=16_000, return_tensors="pt", return_attention_mask=True)
    found = model.generate(**inputs, language="en", task="transcribe", do_sample=False)
    return processor.batch_decode(found, skip_special_tokens=True)[0]
