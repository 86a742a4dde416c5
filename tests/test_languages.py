"""A recording in another language than the model was told to hear: its row says so."""

from __future__ import annotations

import csv
import json
import shutil

import pytest
from conftest import STACKS, stack_toml

WORKER = """
def load(checkpoint, device):
    return None
def transcribe(model, audio, language="en"):
    return "hola"
def transcribe_batch(model, audios, language="en"):
    return ["hola" for audio in audios]
"""
SPOKEN = ("es", "es_MX", "en", "eng")  # the last is another name of one, which nobody can know
TOLD = {"default": None, "spanish": "es", "auto": "auto", "loud": "ES", "narrow": "en"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stacks") / "told"
    folder.mkdir()
    text = stack_toml("told", ["default"])
    for model, language in list(TOLD.items())[1:]:
        text += f"[tool.asrbench.models.{model}]\n"
        text += f'transcribe_options = {{ language = "{language}" }}\n'
    (folder / "pyproject.toml").write_text(text + 'languages = ["en"]\n', encoding="utf-8")
    (folder / "worker.py").write_text(WORKER, encoding="utf-8")
    shutil.copy(STACKS / "puppet" / "requirements.lock", folder)
    return folder


@pytest.mark.parametrize("at_once", ["1", "4"])
def test_a_row_says_when_its_language_is_not_the_one_asked_for(
    asrbench, stack, clips, tmp_path, at_once
):
    audio = sorted(clips(*["say"] * len(SPOKEN)).glob("*.wav"))
    lines = [
        {"audio_filepath": str(file), "text": "hola", "lang": language}
        for file, language in zip(audio, SPOKEN, strict=True)
    ]
    manifest = tmp_path / "all.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    done = asrbench(
        "orchestrate", "--models", ",".join(TOLD), "--stacks", stack, "--snippets", manifest,
        "--batch", at_once, "--results", tmp_path / "r",
    )  # fmt: skip
    assert done.code == 0, done.out + done.err
    with (tmp_path / "r" / "latest" / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    said = {model: [] for model in TOLD}
    for row in rows:
        notes = row["Notes"].split("; ")
        said[row["Model"]] += [note for note in notes if note.startswith("the model ")]
    see = "see its options"
    assert said == {
        "default": [
            f"the model was told to hear en, this is {one}: {see}" for one in ("es", "es_mx")
        ],
        "spanish": [f"the model was told to hear es, this is en: {see}"],
        "auto": [],
        "loud": [f"the model was told to hear es, this is en: {see}"],
        "narrow": [f"the model knows en, this is {one}" for one in ("es", "es_mx", "eng")],
    }
