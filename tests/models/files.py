"""Recordings and damaged checkpoints for the tests of models."""

from __future__ import annotations

import numpy as np

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
