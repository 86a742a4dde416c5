"""The main job: from what was asked for to a finished run folder."""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator import machine, paths
from orchestrator.checkpoints import find_checkpoint
from orchestrator.errors import EXIT_INTERRUPTED, RunFolderError, UsageError
from orchestrator.files import write_whole
from orchestrator.journal import Journal, journal_end, read_journal
from orchestrator.reports.report import Report, make_report, write_files
from orchestrator.reports.state import fold
from orchestrator.run import folder as run_folder
from orchestrator.run.chain import Held, run_model
from orchestrator.run.jobs import ModelJob
from orchestrator.run.options import RunOptions
from orchestrator.run.recorder import Recorder, now
from orchestrator.selftest import record as selftest
from orchestrator.snippets.find import find_snippets
from orchestrator.snippets.snippet import Snippet, set_sha256
from orchestrator.stacks import Stack, find_model, load_stacks
from orchestrator.views import View
from schemas.records import Plan, PlannedModel, PlannedSnippet


@dataclass(frozen=True)
class Prepared:
    """All that was asked for, checked before anything is written."""

    options: RunOptions
    jobs: list[ModelJob]
    others: list[str]  # one line for each model that was not asked for and could be
    snippets: list[Snippet]


@dataclass(frozen=True)
class Finished:
    """A run's report, and the exit code that its end calls for."""

    report: Report
    exit_code: int
    write_error: RunFolderError | None  # the figures are there, their files are not


def prepare(options: RunOptions) -> Prepared:
    """Read stacks and snippets. Raises UsageError for anything that cannot be what was meant."""
    paths.check_homes()
    paths.require_utf8("--snippets", options.snippets)
    for checkpoint in options.checkpoints.values():
        paths.require_utf8("--checkpoint", checkpoint)
    stacks = load_stacks(options.stacks)
    unknown = set(options.checkpoints) - {m.name for s in stacks.values() for m in s.models}
    for name in sorted(unknown):
        find_model(stacks.values(), name)  # raises, with the nearest name
    jobs, others = _choose(stacks, options)
    return Prepared(options, jobs, others, find_snippets(options.snippets))


def start(prepared: Prepared, results: Path, view: View) -> Finished:
    """A new run."""
    folder = run_folder.make_run_folder(results)
    hint = selftest.standing()[1]
    if hint:
        view.note(hint)
    with run_folder.hold(folder):
        return _run(folder, prepared, view, lambda: (), None)


def resume(folder: Path, prepared: Prepared, view: View) -> Finished:
    """Do what is missing in a run."""
    with run_folder.hold(folder):
        end = journal_end(folder / "journal.jsonl")
        if end.torn:
            view.note("the journal's last line was torn by a sudden end; it is dropped")
        held = _held(folder, prepared, view) if end.good_bytes else lambda: ()
        return _run(folder, prepared, view, held, end.good_bytes)


def recorded_options(folder: Path) -> RunOptions:
    """What an earlier run was asked for."""
    file = folder / "run.json"
    try:
        return RunOptions.model_validate(json.loads(file.read_text(encoding="utf-8"))["options"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise RunFolderError(f"{file} cannot be read: {error}") from error


def _choose(stacks: dict[str, Stack], options: RunOptions) -> tuple[list[ModelJob], list[str]]:
    every = [
        ModelJob(stack, model, find_checkpoint(model, options.checkpoints.get(model.name)))
        for stack in stacks.values()
        for model in stack.models
    ]
    if options.models is None:
        chosen = [job for job in every if not job.checkpoint.missing]
        others = [f"{j.model.name}: {j.checkpoint.missing}" for j in every if j.checkpoint.missing]
        if not chosen:
            raise UsageError("no model's checkpoint is on this machine:\n" + "\n".join(others))
        return chosen, others
    if options.models == ("all",):
        return every, []
    by_name = {job.model.name: job for job in every}
    names = dict.fromkeys(options.models)
    return [by_name[find_model(stacks.values(), name)[1].name] for name in names], []


def _run(
    folder: Path, prepared: Prepared, view: View, held: Held, good_bytes: int | None
) -> Finished:
    snippets, jobs = prepared.snippets, prepared.jobs
    started_at, set_hash = now(), set_sha256(snippets)
    record = _run_record(prepared, started_at, set_hash) | _earlier_sessions(folder)
    _write_json(folder / "run.json", record)
    if good_bytes is None:
        run_folder.make_latest(folder)
    journal = Journal(folder / "journal.jsonl", good_bytes)
    interrupted = False
    try:
        journal.append(_plan(prepared, started_at, set_hash))
        usable_s = sum(snippet.duration_s or 0.0 for snippet in snippets if not snippet.error)
        view.begin([job.model.name for job in jobs], len(snippets), usable_s)
        recorder = Recorder(journal, view, folder)
        gc.freeze()  # a look at all that lives on anyway would take some ms of an attempt
        for job in jobs:
            run_model(job, snippets, held, prepared.options, recorder)
        journal.check()
    except KeyboardInterrupt:
        interrupted = True
    finally:
        view.close()
        journal.close()
    report = make_report(folder)
    write_error = _write_files(report)
    exit_code = EXIT_INTERRUPTED if interrupted else report.exit_code
    record |= {
        "finished_at": now(),
        "exit_code": exit_code,
        "signature": report.signature,
        "envs": _envs(folder),
    }
    _write_json(folder / "run.json", record)
    return Finished(report, exit_code, write_error)


def _held(folder: Path, prepared: Prepared, view: View) -> Held:
    """What still holds of the run that is resumed."""
    state = fold(read_journal(folder / "journal.jsonl"))
    gone = {s.name for s in state.plan.snippets} - {s.name for s in prepared.snippets}
    for name in sorted(gone):
        view.note(f"{name}: was in this run and is not among the snippets any more")
    return state.attempts


def _plan(prepared: Prepared, started_at: str, set_hash: str) -> Plan:
    return Plan(
        at=started_at,
        models=tuple(
            PlannedModel(
                name=j.model.name,
                stack=j.stack.name,
                languages=j.model.languages,
                remote_code=j.model.remote_code,
            )
            for j in prepared.jobs
        ),
        snippets=tuple(
            PlannedSnippet(
                name=snippet.name,
                reference=snippet.reference,
                clean_reference=snippet.clean_reference,
                language=snippet.language,
                duration_s=snippet.duration_s,
                sha256=snippet.sha256,
                error=snippet.error,
            )
            for snippet in prepared.snippets
        ),
        snippet_set_sha256=set_hash,
        repeats=prepared.options.repeats,
        warm_up=prepared.options.warm_up,
        batch=prepared.options.batch,
    )


def _run_record(prepared: Prepared, started_at: str, set_hash: str) -> dict[str, Any]:
    options = prepared.options
    absolute = options.model_copy(
        update={
            "models": tuple(job.model.name for job in prepared.jobs),
            "snippets": options.snippets.absolute(),
            "stacks": tuple(path.absolute() for path in options.stacks),
            "checkpoints": {name: path.absolute() for name, path in options.checkpoints.items()},
        }
    )
    return {
        "started_at": started_at,
        "machine": machine.describe_machine(),
        "selftest": selftest.standing()[0],
        "options": absolute.model_dump(mode="json"),
        "snippet_set_sha256": set_hash,
    }


def _write_files(report: Report) -> RunFolderError | None:
    try:
        write_files(report)
    except RunFolderError as error:  # a full disk, or results.csv open in a spreadsheet
        return error
    return None


def _earlier_sessions(folder: Path) -> dict[str, Any]:
    """When and where a run was worked on before it was resumed."""
    try:
        before = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        session = {key: before.get(key) for key in ("started_at", "finished_at", "machine")}
        return {"earlier_sessions": [*before.get("earlier_sessions", []), session]}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _envs(folder: Path) -> dict[str, Any]:
    """Of each model that started: its env, the hash of its lock, its checkpoint."""
    told = {"accelerator", "env", "lock_sha256", "checkpoint", "variables", "fell_back"}
    return {
        line.model: line.model_dump(mode="json", include=told)
        for line in read_journal(folder / "journal.jsonl")
        if line.kind == "model_started"
    }


def _write_json(file: Path, content: dict[str, Any]) -> None:
    try:
        write_whole(file, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise RunFolderError(f"cannot write {file}: {error.strerror}") from error
