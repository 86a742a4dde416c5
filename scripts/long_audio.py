"""What models make of audio of 1 s to 2 h: memory, speed, and whether words are lost.

    python scripts/long_audio.py --checkpoint MODEL=PATH [--checkpoint …] [--seconds 1 65 1800 7200]

The recordings of snippets/clean, one every 30 s with silence after it, go through `asrbench
orchestrate`, one model after the other; the audio is in a temporary folder. Tiny checkpoints are
made by make_checkpoints.py. With those of Whisper and Moonshine, which know these recordings, a WER
of 0 says that no word was lost; with random weights it says nothing. Neither does that of 1 s, in
which no recording ends. Speed is that of a tiny model.

RAM is the attempt's peak over the load's: the samples themselves are the column before it.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
from make_checkpoints import read_recordings

Samples = npt.NDArray[np.float32]

RATE_HZ = 16_000
EVERY_S = 30.0  # a window of Whisper's: what was fitted to the recordings knows one in each
SECONDS = (1.0, 65.0, 1800.0, 7200.0)
HEAD = """\
| model | audio, s | samples, MB | parts | outcome | RAM, MB | RTFx | WER |
| --- | --- | --- | --- | --- | --- | --- | --- |"""


def main() -> None:
    """Print the table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", action="append", required=True, metavar="MODEL=PATH")
    parser.add_argument("--seconds", nargs="+", type=float, default=SECONDS, metavar="S")
    given = parser.parse_args()
    print(HEAD)
    with tempfile.TemporaryDirectory(prefix="asrbench-long-", ignore_cleanup_errors=True) as name:
        scratch = Path(name)
        write_recordings(scratch / "recordings", given.seconds)
        for checkpoint in given.checkpoint:
            model = checkpoint.partition("=")[0]
            for line in measured(model, checkpoint, scratch):
                print(line, flush=True)


def write_recordings(folder: Path, seconds: list[float]) -> None:
    """One for each length, with its reference."""
    folder.mkdir()
    recordings = read_recordings()
    for length_s in sorted(seconds):
        audio, text = spread(recordings, length_s)
        stem = f"{round(length_s):05d}"
        soundfile.write(folder / f"{stem}.flac", audio, RATE_HZ)
        (folder / f"{stem}.txt").write_text(text, encoding="utf-8")


def spread(recordings: dict[str, Samples], length_s: float) -> tuple[Samples, str]:
    """So many seconds of recordings with pauses, and what is said in those that are whole."""
    whole = np.zeros(round(length_s * RATE_HZ), np.float32)
    shortest = min(recordings, key=lambda text: len(recordings[text]))
    starts = range(0, len(whole), round(EVERY_S * RATE_HZ))
    said = []
    for start, next_text in zip(starts, itertools.cycle(recordings), strict=False):
        room = len(whole) - start
        text = next_text if len(recordings[next_text]) <= room else shortest
        audio = recordings[text][:room]
        whole[start : start + len(audio)] = audio
        if len(audio) == len(recordings[text]):
            said.append(text)
    return whole, " ".join(said) or shortest


def measured(model: str, checkpoint: str, scratch: Path) -> Iterator[str]:
    """The table's lines of one model."""
    results = scratch / model
    command = [sys.executable, "-m", "orchestrator", "orchestrate", "--models", model]
    command += ["--checkpoint", checkpoint, "--snippets", str(scratch / "recordings")]
    command += ["--results", str(results), "--no-warm-up", "--retries", "0", "--quiet"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    latest = results / "latest"
    if not (latest / "results.csv").is_file():
        raise SystemExit(f"{model}: orchestrate ended with {done.returncode} and no results")
    lines = (latest / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    attempts = {one["snippet"]: one for one in map(json.loads, lines) if one["kind"] == "attempt"}
    csv.field_size_limit(2**31 - 1)  # random weights talk much
    with (latest / "results.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield line(model, row, attempts.get(row["Snippet"], {}))


def line(model: str, row: dict[str, str], attempt: dict[str, Any]) -> str:
    """One attempt in the table; one that was never made has its error alone."""
    length_s = float(row["Snippet"])
    samples_mb = 4 * RATE_HZ * length_s / 1e6
    parts = attempt.get("details") or {}
    told = ", ".join(f"{name} {value}" for name, value in parts.items() if name != "answer")
    outcome = row["Error"].replace("|", "/").replace("\n", " ") or "ok"
    cells = [model, f"{length_s:.0f}", f"{samples_mb:.1f}", told, outcome]
    cells += [_more_mb(attempt), _rtfx(row), row["WER"] if length_s >= EVERY_S else ""]
    return f"| {' | '.join(cells)} |"


def _more_mb(attempt: dict[str, Any]) -> str:
    peak, load = ((attempt.get(name) or {}).get("peak_bytes") for name in ("memory", "load_memory"))
    if peak is None or load is None:
        return ""
    return f"{max(0, peak - load) / 1e6:.0f}"


def _rtfx(row: dict[str, str]) -> str:
    return f"{1 / float(row['RTF']):.0f}" if row["RTF"] else ""


if __name__ == "__main__":
    main()
