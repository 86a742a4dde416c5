"""Two stacks with opposite pins of transformers, numpy and Python, in one run: nothing is shared.

    python scripts/prove_isolation.py      some two minutes; needs Python 3.10 and 3.12 to be found

Each worker answers with what it has loaded and from where. Exit code 1 if a version is not the
pinned one, if anything that a worker loaded lies in the other's env, or if a row has a leak.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from orchestrator import paths

STACKS = {
    "of-old": ("==3.10.*", ["transformers==4.46.3", "numpy==1.26.4"]),
    "of-new": ("==3.12.*", ["transformers>=5,<6", "numpy>=2.1"]),
}
TOML = """\
[project]
name = "{name}"
version = "0"
requires-python = "{python}"
dependencies = {dependencies}
[tool.asrbench]
worker = "worker.py"
accelerators = ["cpu"]
[tool.asrbench.models.{name}]
"""
WORKER = """\
import json, os, sys
import numpy, transformers, tokenizers, safetensors
def load(checkpoint, device):
    return None
def transcribe(model, audio):
    files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    said = {
        "python": sys.version.split()[0], "numpy": numpy.__version__,
        "transformers": transformers.__version__,
        "folders": sorted({os.path.realpath(file).partition("site-packages")[0] for file in files
                           if "site-packages" in file}),
    }
    return json.dumps(said)
"""


def run(root: Path) -> dict[str, Any]:
    """One orchestrate of both; the document that it prints."""
    for name, (python, dependencies) in STACKS.items():
        folder = root / "stacks" / name
        folder.mkdir(parents=True)
        text = TOML.format(name=name, python=python, dependencies=["msgpack", *dependencies])
        (folder / "pyproject.toml").write_text(text, encoding="utf-8")
        (folder / "worker.py").write_text(WORKER, encoding="utf-8")
    command = [sys.executable, "-m", "orchestrator", "orchestrate", "--json", "--no-warm-up"]
    command += ["--models", ",".join(STACKS), "--stacks", str(root / "stacks")]
    command += ["--snippets", str(paths.SHIPPED_SNIPPETS / "clean" / "long")]
    command += ["--results", str(root / "results")]
    cache = os.environ.get("UV_CACHE_DIR") or str(paths.cache_home() / "uv")
    environment = os.environ | {"ASRBENCH_HOME": str(root / "home"), "UV_CACHE_DIR": cache}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"orchestrate ended with {done.returncode}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def faults(document: dict[str, Any]) -> list[str]:
    """What is not as it should be; prints what was found."""
    found, folders = [], []
    for row in document["rows"]:
        name = row["model"]
        if row["outcome"] != "ok":
            found.append(f"{name}: {row['outcome']} ({row['phase']}): {row['error']}")
            continue
        said = json.loads(row["transcript"])
        print(f"{name}: Python {said['python']}, numpy {said['numpy']}, ", end="")
        print(f"transformers {said['transformers']}, from {', '.join(said['folders'])}")
        folders.append(set(said["folders"]))
        if len(said["folders"]) != 1 or name not in said["folders"][0]:
            found.append(f"{name} loaded from {said['folders']}")
        found += [f"{name}: {note}" for note in row["notes"] if "not from its env" in note]
    if len(folders) == len(STACKS) and set.intersection(*folders):
        found.append("two workers loaded from one folder")
    versions = {tuple(sorted(one)) for one in folders}
    return found if len(versions) == len(STACKS) else [*found, "not two workers with an env each"]


def main() -> None:
    """Print what each worker had, and what is wrong."""
    with tempfile.TemporaryDirectory(prefix="asrbench-apart-", ignore_cleanup_errors=True) as name:
        found = faults(run(Path(name).resolve()))
    print("nothing is shared" if not found else "\n".join(found))
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
