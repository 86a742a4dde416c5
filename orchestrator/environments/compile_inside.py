"""Compiles modules, run by the env's own Python: python -I -S compile_inside.py JOB ROOT RESULT

JOB is a JSON list of source files. Into RESULT goes a JSON object: for each that could be compiled
the sha256 of its bytecode. Code objects are told their path below ROOT, so that they are the same
in every env, and no .pth file has a say. Ends with 1 if a file cannot be written whole.

Runs on Python 3.9 with the standard library.
"""

from __future__ import annotations

import errno
import hashlib
import json
import marshal
import os
import py_compile
import sys
import warnings
from pathlib import Path

HEADER_BYTES = 16  # PEP 552
# its name is too long, which Windows says as "not found", or a file is where its folder should be
_NO_PLACE = (errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR)


def main(job: str, root: str, result: str) -> None:
    """Compile all that the job names."""
    warnings.simplefilter("ignore")  # of what others wrote
    made = {}
    for source in json.loads(Path(job).read_text(encoding="ascii")):
        digest = _compiled(source, os.path.relpath(source, root))
        if digest:
            made[source] = digest
    Path(result).write_text(json.dumps(made), encoding="ascii")


def _compiled(source: str, told: str) -> str | None:
    """The bytecode's sha256; None if the source cannot be compiled, as with Python 2."""
    mode = py_compile.PycInvalidationMode.TIMESTAMP  # whatever SOURCE_DATE_EPOCH says
    try:
        file = py_compile.compile(source, dfile=told, doraise=True, invalidation_mode=mode)
    except (py_compile.PyCompileError, FileExistsError):  # the latter: a link is in its place
        return None
    except OSError as error:
        if error.errno in _NO_PLACE:
            return None
        sys.exit(f"the bytecode of {source} could not be written whole: {error}; is the disk full?")
    assert file is not None
    content = Path(file).read_bytes()
    try:  # until 3.14 Python does not look whether a full disk took all of it
        marshal.loads(content[HEADER_BYTES:])  # noqa: S302 - we wrote it
    except (EOFError, ValueError, TypeError):
        Path(file).unlink()
        sys.exit(f"the bytecode of {source} could not be written whole; is the disk full?")
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(str(error))
