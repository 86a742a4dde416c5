"""Voxtral with a tiny checkpoint."""

from __future__ import annotations

import pytest

from models.files import details, noise, rename_weights

MODEL = "voxtral-mini-3b"
# the model's card, nothing of ours
REFERENCE = """
import json, sys, torch
from transformers import AutoProcessor, VoxtralForConditionalGeneration
folder, audio = sys.argv[1:]
processor = AutoProcessor.from_pretrained(folder)
model = VoxtralForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
samples = torch.frombuffer(bytearray(open(audio, "rb").read()), dtype=torch.float32).numpy()
inputs = processor.apply_transcription_request(
    language="en", audio=[samples], format=["WAV"], sampling_rate=16000, model_id="any")
found = model.generate(**inputs, max_new_tokens=30, do_sample=False)
ids = found[:, inputs.input_ids.shape[1]:]
print(json.dumps(processor.batch_decode(ids, skip_special_tokens=True)[0].strip()))
"""


@pytest.fixture(scope="module")
def tiny(checkpoint_of):
    return checkpoint_of(MODEL)


def test_it_says_what_the_library_says(transcribe, tiny, recordings, reference, tmp_path):
    audio = noise(3)
    (tmp_path / "a.f32").write_bytes(audio.tobytes())
    done, rows, journal = transcribe(MODEL, tiny, recordings(a=audio))
    assert done.code == 0, done.err
    expected = reference("voxtral", REFERENCE, tiny, tmp_path / "a.f32")
    assert expected
    assert journal[-1]["text"] == expected
    assert rows["a"]["Device"] == "cpu"


def test_what_is_longer_than_a_window_goes_in_one_go(transcribe, tiny, recordings):
    _, rows, journal = transcribe(MODEL, tiny, recordings(a=noise(65)))
    assert details(journal)[0]["pieces"] == 1
    assert rows["a"]["Transcript"]


def test_weights_that_are_not_there_are_an_error(transcribe, tiny, broken, recordings):
    old = "language_model.model.layers.0.mlp.up_proj.weight"
    folder = broken(
        tiny, lambda one: rename_weights(one / "model.safetensors", old, old.replace("up_", "uq_"))
    )
    _, rows, _ = transcribe(MODEL, folder, recordings(a=noise(1)))
    assert "up_proj.weight" in rows["a"]["Error"]
