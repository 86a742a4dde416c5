"""Voxtral with a tiny checkpoint."""

from __future__ import annotations

import json

import pytest

from models.files import RATE_HZ, details, noise, rename_weights

MODEL = "voxtral-mini-3b"
# the model's card, nothing of ours
REFERENCE = """
import json, sys, torch
from transformers import AutoProcessor, VoxtralForConditionalGeneration
folder, audio, language = sys.argv[1:]
processor = AutoProcessor.from_pretrained(folder)
model = VoxtralForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
samples = torch.frombuffer(bytearray(open(audio, "rb").read()), dtype=torch.float32).numpy()
inputs = processor.apply_transcription_request(
    language=language, audio=[samples], format=["WAV"], sampling_rate=16000, model_id="any")
found = model.generate(**inputs, max_new_tokens=len(samples) * 10 // 16000, do_sample=False)
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
    expected, french = (
        reference("voxtral", REFERENCE, tiny, tmp_path / "a.f32", language)
        for language in ("en", "fr")
    )
    assert expected
    assert journal[-1]["text"] == expected
    assert french != expected  # so it would be seen if it were not asked for English
    assert rows["a"]["Device"] == "cpu"


IN_FRENCH = """
import json, numpy
from workers import voxtral
loaded, audio = voxtral.load(sys.argv[1], "cpu"), numpy.fromfile(sys.argv[2], "<f4")
print(json.dumps(voxtral.transcribe(loaded, audio, language="fr")["text"]))
"""


def test_another_language_is_asked_for(worker, tiny, reference, tmp_path):
    audio = tmp_path / "a.f32"
    audio.write_bytes(noise(3).tobytes())
    assert worker("voxtral", IN_FRENCH, tiny, audio) == reference(
        "voxtral", REFERENCE, tiny, audio, "fr"
    )


def test_what_is_longer_than_a_window_goes_in_one_go_and_all_of_it_is_heard(
    transcribe, tiny, recordings, reference, tmp_path
):
    audio = noise(65)
    (tmp_path / "a.f32").write_bytes(audio.tobytes())
    _, rows, journal = transcribe(MODEL, tiny, recordings(a=audio))
    assert rows["a"]["Error"] == ""
    assert details(journal)[0]["pieces"] == 1
    assert journal[-1]["text"] == reference("voxtral", REFERENCE, tiny, tmp_path / "a.f32", "en")
    (tmp_path / "a.f32").write_bytes(audio[: 60 * RATE_HZ].tobytes())
    shorter = reference("voxtral", REFERENCE, tiny, tmp_path / "a.f32", "en")
    assert not journal[-1]["text"].startswith(shorter)  # so it would be seen if some were cut off


def test_weights_that_are_not_there_are_an_error(transcribe, tiny, broken, recordings):
    old = "language_model.model.layers.0.mlp.up_proj.weight"
    folder = broken(
        tiny, lambda one: rename_weights(one / "model.safetensors", old, old.replace("up_", "uq_"))
    )
    _, rows, _ = transcribe(MODEL, folder, recordings(a=noise(1)))
    assert "up_proj.weight" in rows["a"]["Error"]


def test_a_tokenizer_of_another_model_is_an_error(transcribe, tiny, broken, recordings):
    def change(folder):
        file = folder / "tekken.json"
        content = json.loads(file.read_text(encoding="utf-8"))
        rank = len(content["vocab"])
        word = {"rank": rank, "token_bytes": "eHl6eHl6", "token_str": "xyzxyz"}
        content["vocab"].append(word)
        for key in ("num_vocab_tokens", "default_vocab_size"):
            content["config"][key] += 1
        file.write_text(json.dumps(content), encoding="utf-8")

    done, rows, _ = transcribe(MODEL, broken(tiny, change), recordings(a=noise(1)))
    assert done.code == 3
    assert "its tokenizer is of another model" in rows["a"]["Error"]
