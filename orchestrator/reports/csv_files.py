"""results.csv and summary.csv. MB is 1,000,000 bytes, rates are fractions, times are seconds."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from orchestrator.errors import RunFolderError
from orchestrator.files import whole_file
from orchestrator.platforms import quoted
from orchestrator.reports.rows import Row, speaker
from orchestrator.reports.summary import ModelSummary, signature
from schemas.records import Attempt, MemoryPeak, Plan

Cell = str | int | float | None

# a spreadsheet set to another separator begins a cell there, and drops quotes that it finds first
FORMULA = re.compile(r"""(^|[;\t\r\n]"*)(?=[=+\-@])""")

RESULT_COLUMNS = (
    # the first ten are a promise to whoever reads the file with a program
    "Model Snippet Transcript Reference WER Time_Sec RTF Peak_RAM_MB Load_Time_Sec Error "
    "Outcome Phase RTFx CER Hits Substitutions Deletions Insertions WER_Clean "
    "Transcript_Normalized Reference_Normalized Language Audio_Sec Worker_Sec Device "
    "Peak_RAM_Method Peak_Cgroup_MB Peak_Resident_MB Peak_Anon_MB Peak_File_MB "
    "Load_Spawn_Sec Load_Interpreter_Sec Load_Imports_Sec Load_Weights_Sec Notes "
    "Peak_RAM_Bound Peak_RAM_Load_MB Peak_RAM_Attempt_MB Device_Memory_MB Device_Memory_Method "
    "Energy_J Energy_Source Disturbed Blame Repeats Time_Sec_Min Time_Sec_Max "
    "Peak_Commit_MB Peak_RAM_Load_Bound Peak_RAM_Attempt_Bound Fell_Back Batch Batch_Sec"
).split()

SUMMARY_COLUMNS = (
    "Model WER WER_Low WER_High CER Snippets Ok Failed Not_Run Audio_Sec RTFx Load_Time_Sec "
    "Peak_RAM_MB Peak_RAM_Method Device First_Error Signature "
    "RTFx_Min RTFx_Max Peak_RAM_Bound Peak_RAM_Load_MB Peak_RAM_First_MB Peak_RAM_Steady_MB "
    "Device_Memory_MB Crashes Disturbed "
    "Peak_RAM_Load_Bound Peak_RAM_First_Bound Peak_RAM_Steady_Bound "
    "Batch Batch_Rows Batch_Checked Batch_Changed"
).split()


def write_results(rows: Iterable[Row], file: Path) -> None:
    """One line for each row."""
    _write(file, RESULT_COLUMNS, (_result_cells(row) for row in rows))


def write_summary(summaries: Sequence[ModelSummary], plan: Plan, file: Path) -> None:
    """One line for each model, best first, each with its own signature."""
    cells = (_summary_cells(one, signature(plan, [one])) for one in summaries)
    _write(file, SUMMARY_COLUMNS, cells)


def safe_cell(value: Cell) -> Cell:
    """A text that a spreadsheet would run as a formula gets an apostrophe in front of that.

    Source: OWASP, CSV injection.
    """
    if not isinstance(value, str):
        return value
    value = FORMULA.sub(r"\1'", value)
    return "'" + value if value.startswith(("\t", "\r", "\n")) else value


def _result_cells(row: Row) -> dict[str, Cell]:
    cells: dict[str, Cell] = {
        "Model": row.model,
        "Snippet": row.snippet.name,
        "Reference": row.snippet.reference,
        "Error": row.error,
        "Outcome": row.outcome,
        "Phase": row.phase,
        "Language": row.snippet.language,
    }
    if row.score:
        cells |= {
            "WER": _rounded(row.score.wer),
            "CER": _rounded(row.score.cer),
            "Hits": row.score.hits,
            "Substitutions": row.score.substitutions,
            "Deletions": row.score.deletions,
            "Insertions": row.score.insertions,
            "Transcript_Normalized": row.score.hypothesis,
            "Reference_Normalized": row.score.reference,
        }
    if row.clean_score:
        cells["WER_Clean"] = _rounded(row.clean_score.wer)
    return cells | _attempt_cells(row)


def _attempt_cells(row: Row) -> dict[str, Cell]:
    attempts = row.attempts
    attempt = speaker(attempts)
    if attempt is None:
        return {}
    cells: dict[str, Cell] = {
        "Transcript": attempt.text,
        "Time_Sec": _rounded(row.time_s),
        "Audio_Sec": _rounded(attempt.audio_s),
        "Worker_Sec": _rounded(attempt.infer_s),
        "Device": attempt.device,
        "Fell_Back": "; ".join(row.fell_back),
        "Notes": "; ".join(row.notes),
        "Blame": row.blame,
        "Disturbed": "; ".join(dict.fromkeys(w for one in attempts for w in one.disturbed)),
    }
    if row.time_s and attempt.audio_s:
        cells["RTF"] = _rounded(row.time_s / attempt.audio_s)
        cells["RTFx"] = _rounded(attempt.audio_s / row.time_s)
    cells["Batch"] = attempt.batch.size if attempt.batch else 1
    if attempt.batch:
        cells["Batch_Sec"] = _rounded(attempt.batch.time_s)
    cells |= _repeat_cells(attempts) | _memory_cells(attempt)
    if attempt.load:
        cells |= {
            "Load_Time_Sec": _rounded(attempt.load.total_s),
            "Load_Spawn_Sec": _rounded(attempt.load.spawn_s),
            "Load_Interpreter_Sec": _rounded(attempt.load.interpreter_s),
            "Load_Imports_Sec": _rounded(attempt.load.imports_s),
            "Load_Weights_Sec": _rounded(attempt.load.weights_s),
        }
    return cells


def _repeat_cells(attempts: Sequence[Attempt]) -> dict[str, Cell]:
    times = [one.time_s for one in attempts if one.time_s is not None]
    if len(attempts) < 2 or not times:
        return {"Repeats": len(attempts)}
    return {
        "Repeats": len(attempts),
        "Time_Sec_Min": _rounded(min(times)),
        "Time_Sec_Max": _rounded(max(times)),
    }


def _memory_cells(attempt: Attempt) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    if attempt.memory:
        cells |= {
            "Peak_RAM_MB": _megabytes(attempt.memory.peak_bytes),
            "Peak_RAM_Method": attempt.memory.method,
            "Peak_RAM_Bound": attempt.memory.bound,
            "Peak_Cgroup_MB": _megabytes(attempt.memory.cgroup_bytes),
            "Peak_Resident_MB": _megabytes(attempt.memory.resident_bytes),
            "Peak_Anon_MB": _megabytes(attempt.memory.anon_bytes),
            "Peak_File_MB": _megabytes(attempt.memory.file_bytes),
            "Peak_Commit_MB": _megabytes(attempt.memory.commit_bytes),
        }
    cells |= _peak_cells("Load", attempt.load_memory)
    cells |= _peak_cells("Attempt", attempt.attempt_memory)
    if attempt.device_memory:
        largest = max(attempt.device_memory, key=lambda device: device.peak_bytes)
        cells["Device_Memory_MB"] = _megabytes(largest.peak_bytes)
        cells["Device_Memory_Method"] = f"{largest.method} on {largest.device}"
    if attempt.energy:
        # never a sum: a package may contain the GPU that has a counter of its own
        cells["Energy_J"] = "; ".join(f"{one.joules:.3f}" for one in attempt.energy)
        cells["Energy_Source"] = "; ".join(f"{one.scope} {one.source}" for one in attempt.energy)
    return cells


def _summary_cells(one: ModelSummary, own_signature: str) -> dict[str, Cell]:
    low, high = one.wer_interval or (None, None)
    slowest, fastest = one.rtfx_range or (None, None)
    return {
        "Model": one.model,
        "WER": _rounded(one.wer),
        "WER_Low": _rounded(low),
        "WER_High": _rounded(high),
        "CER": _rounded(one.cer),
        "Snippets": one.snippets,
        "Ok": one.ok,
        "Failed": one.failed,
        "Not_Run": one.not_run,
        "Audio_Sec": _rounded(one.audio_s),
        "RTFx": _rounded(one.rtfx),
        "Load_Time_Sec": _rounded(one.load_s),
        "Peak_RAM_MB": _megabytes(one.peak_bytes),
        "Peak_RAM_Method": one.peak_method,
        "Device": one.device,
        "First_Error": one.first_error,
        "Signature": own_signature,
        "RTFx_Min": _rounded(slowest),
        "RTFx_Max": _rounded(fastest),
        "Peak_RAM_Bound": one.peak_bound,
        "Device_Memory_MB": _megabytes(one.device_peak_bytes),
        "Peak_RAM_Load_MB": _megabytes(one.load_peak_bytes),
        "Peak_RAM_Load_Bound": one.load_peak_bound,
        "Peak_RAM_First_MB": _megabytes(one.first_peak_bytes),
        "Peak_RAM_First_Bound": one.first_peak_bound,
        "Peak_RAM_Steady_MB": _megabytes(one.steady_peak_bytes),
        "Peak_RAM_Steady_Bound": one.steady_peak_bound,
        "Batch": one.batch,
        "Batch_Rows": one.batch_rows,
        "Batch_Checked": one.batch_checked,
        "Batch_Changed": one.batch_changed,
        "Crashes": one.crashes,
        "Disturbed": one.disturbed,
    }


def _peak_cells(part: str, peak: MemoryPeak | None) -> dict[str, Cell]:
    if peak is None:
        return {}
    return {
        f"Peak_RAM_{part}_MB": _megabytes(peak.peak_bytes),
        f"Peak_RAM_{part}_Bound": peak.bound,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _megabytes(value: int | None) -> float | None:
    return None if value is None else round(value / 1e6, 3)


def _write(file: Path, columns: Sequence[str], lines: Iterable[dict[str, Cell]]) -> None:
    try:
        with whole_file(file) as stream:  # line by line: a long run's would be many MB at once
            writer = csv.DictWriter(stream, columns)
            writer.writeheader()
            for cells in lines:
                writer.writerow({key: safe_cell(value) for key, value in cells.items()})
    except OSError as error:
        raise RunFolderError(
            f"cannot write {file}: {error.strerror}; the journal beside it is safe: make room, "
            f"then: {quoted(['asrbench', 'report', str(file.parent)])}"
        ) from error
