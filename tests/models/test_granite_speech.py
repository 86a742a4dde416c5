"""Granite Speech with a tiny checkpoint: its LoRA is there, or nothing is measured."""

from __future__ import annotations

import pytest

from models.files import details, noise, rename_weights

MODEL = "granite-speech-3.3-2b"
# the model's card, nothing of ours
REFERENCE = """
import json, sys, torch
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor
folder, audio, adapter = sys.argv[1:]
processor = AutoProcessor.from_pretrained(folder)
model = AutoModelForSpeechSeq2Seq.from_pretrained(folder, dtype=torch.float32)
if adapter == "off":
    model._hf_peft_config_loaded or sys.exit("no adapter")
    for module in model.modules():
        if hasattr(module, "lora_B"):
            for one in module.lora_B.values():
                torch.nn.init.zeros_(one.weight)
chat = [
    {"role": "system", "content": "Knowledge Cutoff Date: April 2024.\\n"
     "Today's Date: April 9, 2025.\\n"
     "You are Granite, developed by IBM. You are a helpful AI assistant"},
    {"role": "user", "content":
     "<|audio|>can you transcribe the speech into a written format?"},
]
text = processor.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
samples = torch.frombuffer(bytearray(open(audio, "rb").read()), dtype=torch.float32)
inputs = processor(text, samples[None], return_tensors="pt")
found = model.generate(**inputs, max_new_tokens=30, do_sample=False, num_beams=1)
ids = found[0, inputs["input_ids"].shape[1]:]
print(json.dumps(processor.tokenizer.decode(ids, skip_special_tokens=True).strip()))
"""


@pytest.fixture(scope="module")
def tiny(checkpoint_of):
    return checkpoint_of(MODEL)


def test_it_says_what_the_library_says_with_the_adapter(
    transcribe, tiny, recordings, reference, tmp_path
):
    audio = noise(3)
    (tmp_path / "a.f32").write_bytes(audio.tobytes())
    done, rows, journal = transcribe(MODEL, tiny, recordings(a=audio))
    assert done.code == 0, done.err
    expected, without = (
        reference("granite-speech", REFERENCE, tiny, tmp_path / "a.f32", adapter)
        for adapter in ("on", "off")
    )
    assert expected
    assert journal[-1]["text"] == expected
    assert expected != without  # so it would be seen
    assert rows["a"]["Device"] == "cpu"
    assert details(journal) == [{"pieces": 1, "cut_off": 1}]


def test_long_audio_is_cut_and_nothing_is_lost(transcribe, tiny, recordings):
    _, rows, journal = transcribe(MODEL, tiny, recordings(a=noise(65)))
    assert details(journal)[0]["pieces"] == 3
    assert rows["a"]["Transcript"]


def _without_adapter(folder):
    (folder / "adapter_config.json").unlink()


def _with_empty_adapter(folder):
    file = folder / "adapter_model.safetensors"
    content = file.read_bytes()
    header_bytes = 8 + int.from_bytes(content[:8], "little")
    file.write_bytes(content[:header_bytes] + bytes(len(content) - header_bytes))


def _with_another_adapter(folder):
    old = "base_model.model.language_model.model.layers.0.self_attn.q_proj.lora_A.weight"
    rename_weights(folder / "adapter_model.safetensors", old, old.replace("q_proj", "z_proj"))


def _with_other_weights(folder):
    old = "language_model.model.layers.0.mlp.up_proj.weight"
    rename_weights(folder / "model.safetensors", old, old.replace("up_proj", "uq_proj"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without_adapter, "the speech adapter is missing"),
        (_with_empty_adapter, "its adapter changes nothing"),
        (_with_another_adapter, "q_proj.lora_A"),
        (_with_other_weights, "up_proj.weight"),
    ],
)
def test_an_adapter_or_weights_that_are_not_there_are_an_error(
    transcribe, tiny, broken, recordings, change, words
):
    done, rows, _ = transcribe(MODEL, broken(tiny, change), recordings(a=noise(1)))
    assert done.code == 3  # of all that was asked for nothing could run
    assert words in rows["a"]["Error"]
