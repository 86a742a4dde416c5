"""--memory-limit: what it may say, and what becomes of a model that meets it."""

from __future__ import annotations

import pytest

from orchestrator.cli.memory_size import memory_size
from orchestrator.errors import UsageError


def test_another_memory_limit_measures_anew(run_puppet, clips, asrbench, tmp_path):
    _, rows, _ = run_puppet(clips("allocate"), "--memory-limit", "120MB", "--retries", "0")
    assert rows["allocate"]["Outcome"] == "out_of_memory"
    resume = ("orchestrate", "--resume", "latest", "--results", tmp_path / "results")
    assert "puppet: 0 snippets to do" in asrbench(*resume).out
    done = asrbench(*resume, "--memory-limit", "4GB")
    assert "puppet: 1 snippet to do" in done.out
    assert done.code == 0


def test_a_memory_limit_that_is_no_size_is_said(in_process):
    done = in_process("orchestrate", "--memory-limit=12 apples")
    assert done.code == 2
    assert "--memory-limit 12 apples: expected a size such as 12GB" in done.err
    assert "16MB or more" in done.err


@pytest.mark.parametrize(
    "size",
    ["-1GB", "1KB", "nan", "16GB/2", "4GB 16GB", "4GB%", "12,5GB", "1e9", "9" * 30, "9" * 18 + "TB",
     "", "GB"],
)  # fmt: skip
def test_a_memory_limit_must_be_a_size(size):
    with pytest.raises(UsageError, match="expected a size such as 12GB"):
        memory_size(size)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("16000000", 16_000_000), ("16000000b", 16_000_000), ("16000KB", 16_000_000),
        ("12GB", 12 * 10**9), ("1.5 gib", 3 << 29), ("0.5TB", 5 * 10**11), ("2TiB", 2 << 40),
        ("20480KiB", 20 << 20), ("100mib", 100 << 20), ("0.1GB", 10**8),
    ],
)  # fmt: skip
def test_a_memory_limit_is_what_it_says(text, size_bytes):
    assert memory_size(text) == size_bytes


def test_over_the_memory_limit_is_out_of_memory_with_a_lower_bound(run_puppet, clips):
    done, rows, _ = run_puppet(clips("say", "allocate", "dict"), "--memory-limit", "120MB")
    assert done.code == 1
    assert rows["allocate"]["Outcome"] == "out_of_memory"
    assert rows["allocate"]["Blame"] == "this snippet kills the model"
    assert "limit of 120 MB" in rows["allocate"]["Error"]
    assert rows["allocate"]["Peak_RAM_Bound"] == "lower"
    assert rows["say"]["Outcome"] == rows["dict"]["Outcome"] == "ok"
