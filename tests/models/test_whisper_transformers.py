"""Distil-Whisper by transformers, with a tiny Whisper that was fitted to shipped recordings."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import ROOT

from models.files import RATE_HZ, details, noise, rename_weights
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


def test_a_tokenizer_of_another_model_is_an_error(transcribe, fitted, broken, recordings):
    def change(folder):
        file = folder / "config.json"
        config = json.loads(file.read_text(encoding="utf-8"))
        config["vocab_size"] -= 1
        file.write_text(json.dumps(config), encoding="utf-8")

    _, rows, _ = transcribe(MODEL, broken(fitted, change), recordings(a=noise(1)))
    assert "has wrong shapes of weights" in rows["a"]["Error"]
