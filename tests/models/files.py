"""Recordings and damaged checkpoints for the tests of models."""

from __future__ import annotations

import json
import sys

import numpy as np
from conftest import ROOT

sys.path.append(str(ROOT / "scripts"))
from make_checkpoints import read_recordings  # noqa: F401  what the fitted ones know

RATE_HZ = 16_000


def rename_weights(file, old, new):
    """In a safetensors file's header; names of one length, so that nothing else moves."""
    assert len(old) == len(new)
    content = file.read_bytes()
    assert content.count(old.encode()) == 1
    file.write_bytes(content.replace(old.encode(), new.encode()))


def noise(seconds, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE_HZ)).astype(np.float32)


def details(journal):
    """Of each attempt, what the worker told besides its text."""
    return [line["details"] for line in journal if line.get("details")]


def change_json(file, **values):
    """Set keys of a checkpoint's JSON file; None takes one away."""
    content = json.loads(file.read_text(encoding="utf-8")) | values
    kept = {key: value for key, value in content.items() if value is not None}
    file.write_text(json.dumps(kept), encoding="utf-8")


def add_token(folder):
    """One more to its tokenizer than its weights have."""
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    last = max(one["id"] for one in content["added_tokens"])
    content["model"]["vocab"]["onemore"] = last + 1
    file.write_text(json.dumps(content), encoding="utf-8")
