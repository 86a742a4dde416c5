"""The console for tables: as wide as the terminal, or wide enough where there is none."""

from __future__ import annotations

import os
import sys

from rich.console import Console

WIDTH_WITHOUT_TERMINAL = 120


def table_console() -> Console:
    """For stdout."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return Console()
    return Console(width=WIDTH_WITHOUT_TERMINAL)
