"""Distil-Whisper by transformers, with a tiny Whisper that was fitted to shipped recordings."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import ROOT

from models.files import RATE_HZ, add_token, change_json, details, noise, rename_weights
from orchestrator.audio.decode import DecodedFacts, decode

MODEL = "distil-large-v3"
CLEAN = ROOT / "snippets" / "clean"


@pytest.fixture(scope="module")
def fitted(checkpoint_of):
    return checkpoint_of(MODEL)


def _read(name):
    (file,) = (one for one in CLEAN.glob(f"{name}.*") if one.suffix != ".txt")
    return np.concatenate([np.array(block) for block in decode(file, DecodedFacts())])


def _said(name):
    return (CLEAN / f"{name}.txt").read_text(encoding="utf-8").strip()


def test_what_it_was_fitted_to_is_recognised_without_an_error(transcribe, fitted):
    done, rows, _ = transcribe(MODEL, fitted, CLEAN)
    assert done.code == 0, done.err
    short = {name: row for name, row in rows.items() if float(row["Audio_Sec"]) < 10}
    assert len(short) >= 5
    assert {name: row["Transcript"] for name, row in short.items()} == {
        name: _said(name) for name in short
    }
    assert {row["WER"] for row in short.values()} == {"0.0"}
    assert {row["Device"] for row in rows.values()} == {"cpu"}


def test_long_audio_goes_by_timestamps_and_loses_nothing(transcribe, fitted, recordings):
    said = ["garden-rain", "last-train", "soup-recipe"]
    windows = np.zeros((len(said), 30 * RATE_HZ), np.float32)
    for window, name in zip(windows, said, strict=True):
        audio = _read(name)
        window[: len(audio)] = audio
    _, rows, journal = transcribe(MODEL, fitted, recordings(long=windows.ravel()))
    assert rows["long"]["Transcript"] == " ".join(map(_said, said))
    (told,) = details(journal)
    assert told["pieces"] == 1
    assert told["windows"] >= len(said)
    assert told["cut_off"] == 0


def test_the_same_audio_gives_the_same_text_in_any_worker(transcribe, fitted, recordings):
    folder = recordings(a=noise(40), b=noise(3, seed=1))
    first = transcribe(MODEL, fitted, folder)[1]
    again = transcribe(MODEL, fitted, folder)[1]
    assert [row["Transcript"] for row in first.values()] == [
        row["Transcript"] for row in again.values()
    ]
    assert any(row["Transcript"] for row in first.values())


def test_weights_of_another_name_are_an_error_that_names_them(
    transcribe, fitted, broken, recordings
):
    old = "model.decoder.layers.1.fc1.weight"
    folder = broken(
        fitted,
        lambda one: rename_weights(one / "model.safetensors", old, old.replace("fc1", "fc9")),
    )
    done, rows, _ = transcribe(MODEL, folder, recordings(a=noise(1)))
    assert done.code == 3  # of all that was asked for nothing could run
    assert f"lacks weights: {old}" in rows["a"]["Error"]


def _for_fewer_tokens(folder):
    file = folder / "config.json"
    vocabulary = json.loads(file.read_text(encoding="utf-8"))["vocab_size"]
    change_json(file, vocab_size=vocabulary - 1)


def _with_80_mels(folder):
    change_json(folder / "preprocessor_config.json", feature_size=80)


def _without_generation_config(folder):
    (folder / "generation_config.json").unlink()


def _with_another_prompt(folder):
    change_json(folder / "generation_config.json", no_timestamps_token_id=50_362)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_with_another_prompt, "<|notimestamps|> is 50364 in it, and 50362 in"),
        (_for_fewer_tokens, "has wrong shapes of weights"),
        (add_token, "its tokenizer is of another model"),
        (_with_80_mels, "80"),
        (_without_generation_config, "generation_config.json is not there"),
    ],
)
def test_what_is_of_another_model_is_an_error(
    transcribe, fitted, broken, recordings, change, words
):
    done, rows, _ = transcribe(MODEL, broken(fitted, change), recordings(a=noise(1)))
    assert done.code != 0
    assert words in rows["a"]["Error"]


def test_a_checkpoint_of_english_alone_is_not_told_a_language(
    transcribe, fitted, broken, recordings
):
    """transformers refuses it: such a model has no tokens for that."""

    def change(folder):
        file = folder / "generation_config.json"
        change_json(file, is_multilingual=False, lang_to_id=None, task_to_id=None)

    folder = recordings(a=noise(1), long=noise(40))
    done, rows, _ = transcribe(MODEL, broken(fitted, change), folder)
    assert done.code == 0, [row["Error"] for row in rows.values()]


FALLING_BACK = """
import json, numpy
from workers import whisper_transformers as worker
worker.TEMPERATURES, worker.LOGPROB_LIMIT = (0.0, 9.0), 1.0  # no text is good enough
model = worker.load(sys.argv[1], "cpu")
audio = numpy.random.default_rng(0).normal(0, 0.1, 35 * 16000).astype(numpy.float32)
ways = ({}, {"fallback": False}, {"fallback": True})
texts = [worker.transcribe(model, audio, **way)["text"] for way in ways]
worker.torch.manual_seed = lambda _: None  # what is drawn now is not what was drawn before
print(json.dumps([*texts, worker.transcribe(model, audio)["text"]]))
"""


def test_nothing_is_sampled_unless_it_is_asked_for(worker, fitted, broken):
    def change(folder):
        change_json(folder / "generation_config.json", do_sample=True, temperature=5.0)

    usual, without, fallback, unseeded = worker("distil-whisper", FALLING_BACK, fitted)
    assert usual == without == unseeded != fallback
    assert worker("distil-whisper", FALLING_BACK, broken(fitted, change))[0] == usual


# transformers' documentation, nothing of ours
REFERENCE = """
import json, sys, torch
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor
folder, audio = sys.argv[1:]
processor = AutoProcessor.from_pretrained(folder)
model = AutoModelForSpeechSeq2Seq.from_pretrained(folder, dtype=torch.float32)
samples = torch.frombuffer(bytearray(open(audio, "rb").read()), dtype=torch.float32).numpy()
inputs = processor(samples, sampling_rate=16000, return_tensors="pt", return_attention_mask=True)
found = model.generate(**inputs, language="en", task="transcribe", do_sample=False)
text = processor.batch_decode(found, skip_special_tokens=True)[0].strip()
print(json.dumps([text, found.shape[1]]))
"""


def test_a_text_that_does_not_end_goes_on_to_the_limit_of_the_model_and_is_told(
    transcribe, fitted, broken, recordings, reference, tmp_path
):
    def change(folder):
        file = folder / "generation_config.json"
        config = json.loads(file.read_text(encoding="utf-8"))
        config["suppress_tokens"] = [config["eos_token_id"]]
        file.write_text(json.dumps(config), encoding="utf-8")

    endless, audio = broken(fitted, change), _read("last-train")
    (tmp_path / "a.f32").write_bytes(audio.tobytes())
    expected, tokens = reference("distil-whisper", REFERENCE, endless, tmp_path / "a.f32")
    assert tokens > 440
    _, _, journal = transcribe(MODEL, endless, recordings(a=audio))
    assert journal[-1]["text"] == expected
    (told,) = details(journal)
    assert told["cut_off"] == told["windows"] >= 1
