"""A run's files and figures, made from its journal alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import EXIT_NOTHING_RAN, EXIT_OK, EXIT_SOME_FAILED
from orchestrator.journal import journal_end, read_journal
from orchestrator.reports.crash_files import write_crashes
from orchestrator.reports.csv_files import write_results, write_summary
from orchestrator.reports.rows import Row, rows_of, speaker
from orchestrator.reports.state import RunState, fold
from orchestrator.reports.summary import ModelSummary, signature, summarise


@dataclass(frozen=True)
class Report:
    """Everything that can be said of a run."""

    folder: Path
    state: RunState
    rows: list[Row]
    summaries: list[ModelSummary]
    signature: str
    torn: bool  # the journal's last line was cut off by a sudden end

    @property
    def exit_code(self) -> int:
        """0 every row is ok and whole, 1 some are ok, 3 none is."""
        if all(row.ok and not row.missing_repeats for row in self.rows):
            return EXIT_OK
        return EXIT_SOME_FAILED if any(row.ok for row in self.rows) else EXIT_NOTHING_RAN

    def as_json(self) -> dict[str, Any]:
        """For machines: the summaries and every row, without what results.csv only repeats."""
        return {
            "run": self.folder.name,
            "folder": str(self.folder),
            "exit_code": self.exit_code,
            "signature": self.signature,
            "summary": [asdict(summary) | {"failed": summary.failed} for summary in self.summaries],
            "rows": [_row_json(row) for row in self.rows],
        }


def make_report(folder: Path) -> Report:
    """Read the journal and score."""
    journal = folder / "journal.jsonl"
    state = fold(read_journal(journal))
    rows = rows_of(state)
    summaries = summarise(rows, state)
    line = signature(state.plan, summaries)
    return Report(folder, state, rows, summaries, line, journal_end(journal).torn)


def write_files(report: Report) -> None:
    """results.csv, summary.csv and crashes/. A RunFolderError costs the files, not the figures."""
    write_results(report.rows, report.folder / "results.csv")
    write_summary(report.summaries, report.state.plan, report.folder / "summary.csv")
    write_crashes(report.state, report.folder)


def _row_json(row: Row) -> dict[str, Any]:
    attempts = row.attempts
    attempt = speaker(attempts)
    return {
        "model": row.model,
        "snippet": row.snippet.name,
        "outcome": row.outcome,
        "phase": row.phase,
        "error": row.error,
        "transcript": attempt.text if attempt else None,
        "reference": row.snippet.reference,
        "wer": row.score.wer if row.score else None,
        "time_s": row.time_s,
        "audio_s": attempt.audio_s if attempt else None,
        "batch": attempt.batch.size if attempt and attempt.batch else 1,
        "device": attempt.device if attempt else None,
        "fell_back": list(row.fell_back),
        "load_s": attempt.load.total_s if attempt and attempt.load else None,
        "peak_ram_method": attempt.memory.method if attempt and attempt.memory else None,
        "peak_ram_bytes": attempt.memory.peak_bytes if attempt and attempt.memory else None,
        "peak_ram_bound": attempt.memory.bound if attempt and attempt.memory else None,
        "blame": row.blame,
        "disturbed": [words for one in attempts for words in one.disturbed],
        "notes": list(row.notes),
    }
