"""Every error that a person may see, and the exit code that it ends with.

    AsrbenchError
    ├── UsageError           2  what was asked for does not exist or does not fit
    │   ├── StackError          a stack's files are wrong
    │   ├── SnippetsError       the folder or manifest as a whole is unusable
    │   └── RunFolderError      a results folder cannot be written or resumed
    ├── EnvError             3  an env cannot be built or does not work
    ├── CheckpointError      3  a checkpoint cannot be fetched, read or deleted
    └── AudioError           -  one recording is broken: costs its rows, never the run

A message says what happened, to which file or model, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_OK = 0
EXIT_SOME_FAILED = 1
EXIT_USAGE = 2
EXIT_NOTHING_RAN = 3
EXIT_INTERRUPTED = 130  # what shells expect of Ctrl-C


class AsrbenchError(Exception):
    """Base of all errors with a message for the user."""

    exit_code = EXIT_NOTHING_RAN

    def __init__(self, message: str) -> None:
        # a file name that is not UTF-8 must not keep the message out of the journal
        super().__init__(message.encode("utf-8", "backslashreplace").decode("utf-8"))


class UsageError(AsrbenchError):
    """What was asked for does not exist or does not fit."""

    exit_code = EXIT_USAGE


class StackError(UsageError):
    """A stack's pyproject.toml, lock or worker file is wrong."""


class SnippetsError(UsageError):
    """A snippets folder or manifest cannot be used at all."""


class RunFolderError(UsageError):
    """A results folder cannot be written, read or resumed."""


class EnvError(AsrbenchError):
    """An env could not be built, proved or removed. log_tail holds the tool's own words."""

    def __init__(self, message: str, log_tail: str = "") -> None:
        self.log_tail = log_tail
        super().__init__(f"{message}\n{log_tail}".strip())


class CheckpointError(AsrbenchError):
    """A checkpoint cannot be fetched, read or deleted."""


class AudioError(AsrbenchError):
    """One recording cannot be decoded, or would be decoded wrongly."""


def unknown_name(what: str, name: str, known: Iterable[str]) -> UsageError:
    """An error for a misspelt name, with the nearest known one."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}"
    return UsageError(f"unknown {what} {name!r}; {hint}")
