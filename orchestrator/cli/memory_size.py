"""What --memory-limit takes."""

from __future__ import annotations

import re
import sys
from decimal import Decimal

from orchestrator.errors import UsageError
from orchestrator.run.options import MIN_MEMORY_LIMIT_BYTES

SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?) ?(?:B|([KMGT])(i?)B)?", re.ASCII | re.IGNORECASE)


def memory_size(text: str) -> int:
    """Bytes from 12GB (10^9), 1.5GiB (2^30) or a bare number. Raises UsageError."""
    found = SIZE.fullmatch(text.strip())
    size = 0
    if found:
        number, prefix, binary = found.groups()
        power = " KMGT".index((prefix or " ").upper())
        size = int(Decimal(number) * (1024 if binary else 1000) ** power)
    if not MIN_MEMORY_LIMIT_BYTES <= size <= sys.maxsize:
        raise UsageError(
            f"--memory-limit {text}: expected a size such as 12GB, 1.5GiB or a number of bytes, "
            f"{MIN_MEMORY_LIMIT_BYTES // 10**6}MB or more"
        )
    return size
