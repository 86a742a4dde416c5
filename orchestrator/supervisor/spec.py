"""All that it takes to start a worker, and its command line."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator import paths


@dataclass(frozen=True)
class WorkerSpec:
    """All that it takes to start a worker with its model."""

    python: Path  # the env's interpreter
    env: Path
    worker: str  # as the host is told
    options: dict[str, Any]
    transcribe_options: dict[str, Any]
    checkpoint: Path | None
    device: str
    memory_limit_bytes: int | None = None
    variables: dict[str, str] = field(default_factory=dict)  # of the env's accelerator
    remote_code: bool = False  # the stack says that the checkpoint's own code is run


def host_command(python: Path, network: str) -> list[str]:
    """A worker's command line. network: see platforms.worker_network()."""
    # -u: what it printed last is in the log, however it ends
    command = [str(python), "-I", "-B", "-u", "-X", "utf8", "-X", "faulthandler"]
    command += [str(paths.HOST), str(os.getpid()), network]
    if network == "none":  # left before anything of the env runs
        return [str(python), "-I", "-S", "-B", str(paths.SECLUSION), *command]
    return command
