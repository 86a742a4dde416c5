"""Voxtral as its card uses it for a transcription."""

import torch
from transformers import AutoProcessor, VoxtralForConditionalGeneration


def load(checkpoint):
    model = VoxtralForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    return model, AutoProcessor.from_pretrained(checkpoint)


def transcribe(loaded, audio):
    model, processor = loaded
    inputs = processor.apply_transcription_request(
        language="en", audio=[audio], format=["WAV"], sampling_rate=16_000, model_id="any"
    )
    most = 10 * len(audio) // 16_000
    found = model.generate(**inputs, max_new_tokens=most, do_sample=False)
    answer = found[:, inputs.input_ids.shape[1] :]
    return processor.batch_decode(answer, skip_special_tokens=True)[0]
