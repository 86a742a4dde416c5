"""Batches by the models that take them: the same texts as one by one, whatever the lengths."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ROOT

from models.files import RATE_HZ, noise
from orchestrator.audio.decode import DecodedFacts, decode

CLEAN = ROOT / "snippets" / "clean"


def _sizes(journal):
    return {
        one["snippet"]: (one["batch"] or {"size": 1})["size"]
        for one in journal
        if one["kind"] == "attempt"
    }


def _check(journal):
    (check,) = [one for one in journal if one["kind"] == "batch_check"]
    return check


@pytest.mark.parametrize(
    ("model", "longest_s"),
    # Granite's encoder sees some of what is padded: far shorter ones may well say something else
    [("granite-speech-3.3-2b", 5), ("voxtral-mini-3b", 65)],
)
def test_shorter_ones_are_padded_and_say_what_they_say_alone(
    transcribe, checkpoint_of, recordings, model, longest_s
):
    folder = recordings(a=noise(longest_s), b=noise(3, seed=1), c=noise(5, seed=2))
    done, rows, journal = transcribe(model, checkpoint_of(model), folder, "--batch", "4")
    assert done.code == 0, done.err
    assert _sizes(journal) == dict.fromkeys("abc", 3)
    check = _check(journal)
    assert (set(check["checked"]), check["changed"]) == ({"a", "b", "c"}, {})
    assert rows["a"]["Transcript"] != rows["b"]["Transcript"]  # nobody got another's
    assert "" not in {row["Transcript"] for row in rows.values()}


def test_whisper_takes_short_and_long_form_in_one_batch(transcribe, checkpoint_of, recordings):
    said = {}

    def read(name):
        (file,) = (one for one in CLEAN.glob(f"{name}.*") if one.suffix != ".txt")
        said[name] = (CLEAN / f"{name}.txt").read_text(encoding="utf-8").strip()
        return np.concatenate([np.array(block) for block in decode(file, DecodedFacts())])

    def windows(*names):
        long = np.zeros((len(names), 30 * RATE_HZ), np.float32)
        for window, name in zip(long, names, strict=True):
            audio = read(name)
            window[: len(audio)] = audio
        return long.ravel()

    model = "distil-large-v3"
    folder = recordings(
        long=windows("garden-rain", "last-train", "soup-recipe"),
        shorter=windows("market-bread", "garden-rain"),
        a=read("soup-recipe"),
        b=read("last-train"),
    )
    done, rows, journal = transcribe(model, checkpoint_of(model), folder, "--batch", "auto")
    assert done.code == 0, done.err
    assert set(_sizes(journal).values()) == {4}
    assert _check(journal)["changed"] == {}
    assert rows["long"]["Transcript"] == " ".join(
        said[name] for name in ("garden-rain", "last-train", "soup-recipe")
    )
    assert rows["shorter"]["Transcript"] == f"{said['market-bread']} {said['garden-rain']}"
    assert rows["a"]["Transcript"] == said["soup-recipe"]
    assert rows["b"]["Transcript"] == said["last-train"]


def test_phi_4_takes_none_because_its_encoder_hears_padding(transcribe, checkpoint_of, recordings):
    model = "phi-4-multimodal"
    folder = recordings(a=noise(3), b=noise(5, seed=1))
    done, _, journal = transcribe(model, checkpoint_of(model), folder, "--batch", "4")
    assert done.code == 0, done.err
    assert set(_sizes(journal).values()) == {1}
    assert "takes one snippet at a time" in done.out + done.err
