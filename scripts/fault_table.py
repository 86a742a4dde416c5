"""Write the fault matrix's table, as it came out here, into the README.

    python scripts/fault_table.py [--into README.md]

Runs tests/matrix and replaces what stands between <!-- faults --> and <!-- /faults -->. Writes
nothing if a test fails, or is skipped: its row would be missing.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PLACE = re.compile(r"(<!-- faults -->\n).*?(<!-- /faults -->)", re.DOTALL)


class _Reports:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A hook of pytest."""
        self.seen.append(report)


def main() -> None:
    """Run, then write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=ROOT / "README.md")
    into: Path = parser.parse_args().into
    text = into.read_text(encoding="utf-8")
    if not PLACE.search(text):
        sys.exit(f"{into} has no <!-- faults --> and <!-- /faults -->")
    reports = _Reports()
    status = pytest.main(["-q", str(ROOT / "tests" / "matrix")], plugins=[reports])
    if status:
        sys.exit(int(status))
    if skipped := [report.nodeid for report in reports.seen if report.skipped]:
        sys.exit(f"nothing is written, as these were skipped: {', '.join(skipped)}")
    sys.path[:0] = [str(ROOT / "tests")]
    from matrix.table import outcomes_of, table  # type: ignore[import-not-found]

    lines = "\n".join(table(outcomes_of(reports.seen)))
    into.write_text(PLACE.sub(lambda found: f"{found[1]}{lines}\n{found[2]}", text), "utf-8")


if __name__ == "__main__":
    main()
