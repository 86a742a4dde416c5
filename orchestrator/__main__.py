"""python -m orchestrator: the same as the asrbench command."""

from orchestrator.cli import main

main()
