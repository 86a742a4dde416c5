"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from orchestrator.run.folder import DEFAULT_RESULTS

stacks_option: Callable[[Any], Any] = click.option(
    "--stacks",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="DIR",
    help="A folder of more stacks, or one stack; may be repeated. Also: ASRBENCH_STACKS.",
)

results_option: Callable[[Any], Any] = click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=DEFAULT_RESULTS,
    show_default=True,
    metavar="DIR",
    help="Where runs are kept, one folder each.",
)

json_option: Callable[[Any], Any] = click.option(
    "--json", "as_json", is_flag=True, help="One JSON document on stdout, for machines."
)
