"""Phi-4-multimodal as its card and transformers' documentation use it.

But for the suppressed token: with random weights an answer may well ask for more audio.
"""

import torch
from transformers import AutoModelForCausalLM, AutoProcessor

PROMPT = "<|user|><|audio|>Transcribe the audio clip into text.<|end|><|assistant|>"


def load(checkpoint):
    model = AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager"
    )
    model.load_adapter(
        checkpoint, adapter_name="spoken", adapter_kwargs={"subfolder": "speech-lora"}
    )
    model.set_adapter("spoken")
    return model, AutoProcessor.from_pretrained(checkpoint)


def transcribe(loaded, audio):
    model, processor = loaded
    inputs = processor(text=PROMPT, audio=audio, sampling_rate=16_000, return_tensors="pt")
    most = 10 * len(audio) // 16_000
    suppressed = [processor.audio_token_id]
    found = model.generate(
        **inputs, max_new_tokens=most, do_sample=False, suppress_tokens=suppressed
    )
    answer = found[:, inputs["input_ids"].shape[1] :]
    return processor.batch_decode(answer, skip_special_tokens=True)[0]
