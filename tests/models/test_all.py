"""All models that ship, side by side in one run, each in its own env."""

from __future__ import annotations

import csv
import subprocess
import sys

import pytest
from conftest import ROOT

CLEAN = ROOT / "snippets" / "clean"
FITTED = ("distil-large-v3", "whisper-large-v3-turbo", "moonshine-base", "moonshine-tiny")
RANDOM = (
    "granite-speech-3.3-2b", "granite-speech-3.3-8b", "phi-4-multimodal", "voxtral-mini-3b",
)  # fmt: skip


@pytest.fixture(scope="module")
def rows(asrbench, environment, tmp_path_factory):
    """By model and snippet."""
    root = tmp_path_factory.mktemp("äll models")
    made = subprocess.run(
        [sys.executable, ROOT / "scripts" / "make_checkpoints.py", root],
        env=environment, capture_output=True, encoding="utf-8", timeout=1800,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    lines = [line for line in made.stdout.splitlines() if line.startswith("--checkpoint ")]
    checkpoints = [word for line in lines for word in line.split(" ", 1)]
    assert len(lines) == len(FITTED) + len(RANDOM)
    done = asrbench(
        "orchestrate", "--models", "all", *checkpoints, "--snippets", CLEAN,
        "--results", root / "results", timeout=1800,
    )  # fmt: skip
    assert done.code == 0, done.out + done.err
    with (root / "results" / "latest" / "results.csv").open(encoding="utf-8", newline="") as file:
        return {(row["Model"], row["Snippet"]): row for row in csv.DictReader(file)}


def test_every_model_has_a_row_for_every_snippet(rows):
    snippets = {snippet for _, snippet in rows}
    assert len(snippets) == 8
    models = {*FITTED, *RANDOM, "pocketsphinx"}
    assert rows.keys() == {(model, snippet) for model in models for snippet in snippets}
    assert {row["Error"] for row in rows.values()} == {""}
    assert {row["Device"] for row in rows.values()} == {"cpu"}


@pytest.mark.parametrize("model", FITTED)
def test_what_was_fitted_is_recognised_without_an_error(rows, model):
    short = {key[1]: row for key, row in rows.items() if key[0] == model and "long" not in key[1]}
    assert len(short) == 7
    assert {snippet: row["WER"] for snippet, row in short.items()} == dict.fromkeys(short, "0.0")
