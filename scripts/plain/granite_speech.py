"""Granite Speech as its card uses it."""

import torch
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

CHAT = [
    {
        "role": "system",
        "content": "Knowledge Cutoff Date: April 2024.\nToday's Date: April 9, 2025.\n"
        "You are Granite, developed by IBM. You are a helpful AI assistant",
    },
    {
        "role": "user",
        "content": "<|audio|>can you transcribe the speech into a written format?",
    },
]


def load(checkpoint):
    model = AutoModelForSpeechSeq2Seq.from_pretrained(checkpoint, dtype=torch.float32)
    return model, AutoProcessor.from_pretrained(checkpoint)


def transcribe(loaded, audio):
    model, processor = loaded
    words = processor.tokenizer
    text = words.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    inputs = processor(text, torch.from_numpy(audio)[None], return_tensors="pt")
    most = 10 * len(audio) // 16_000
    found = model.generate(**inputs, max_new_tokens=most, do_sample=False, num_beams=1)
    answer = found[:, inputs["input_ids"].shape[1] :]
    return words.batch_decode(answer, skip_special_tokens=True)[0]
