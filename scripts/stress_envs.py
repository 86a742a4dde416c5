"""Kill builders at random moments, let two of them race, and look at what is left.

    python scripts/stress_envs.py                        20 kills and 20 races, some five minutes
    python scripts/stress_envs.py --kills 3 --races 2 --seed 7

Half of the kills hit the controller alone, whose uv then goes on; half its whole process tree.
After each, the env has to be whole or absent, and whole if there was one before; the next build
has to work; and another env has to have kept every byte. Exit code 1 if anything is otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from env_trees import names, tree_hash

TOML = """\
[project]
name = "{name}"
version = "0"
requires-python = ">=3.10,<3.15"
dependencies = ["msgpack", "numpy"]
[tool.asrbench]
worker = "worker.py"
accelerators = ["cpu"]
[tool.asrbench.models.{name}]
"""
WORKER = "def load(checkpoint, device): pass\ndef transcribe(model, audio): return ''\n"


class Bench:
    """Two stacks, and a home for their envs."""

    def __init__(self, root: Path) -> None:
        self.stacks, self.home = root / "stacks", root / "hömë"
        for name in ("victim", "bystander"):
            folder = self.stacks / name
            folder.mkdir(parents=True)
            (folder / "pyproject.toml").write_text(TOML.format(name=name), encoding="utf-8")
            (folder / "worker.py").write_text(WORKER, encoding="utf-8")
            self.run("build", name)
        self.whole = names(self.env("victim") or root)
        self.bystander = tree_hash(self.env("bystander") or root)

    def start(self, verb: str, name: str) -> subprocess.Popen[str]:
        """A command, as a person gives it."""
        from orchestrator import paths

        cache = os.environ.get("UV_CACHE_DIR") or str(paths.cache_home() / "uv")
        environment = os.environ | {"ASRBENCH_HOME": str(self.home), "UV_CACHE_DIR": cache}
        command = [sys.executable, "-m", "orchestrator", "env", verb, name, "--stacks"]
        return subprocess.Popen(
            [*command, str(self.stacks)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )

    def run(self, verb: str, name: str) -> None:
        """Raises SystemExit if it does not work."""
        process = self.start(verb, name)
        said = process.communicate()[0]
        if process.returncode:
            raise SystemExit(f"env {verb} {name}: exit code {process.returncode}\n{said}")

    def env(self, name: str) -> Path | None:
        """Its folder."""
        return next(self.home.glob(f"envs/{name}-cpu-*"), None)

    def faults(self, must_be_there: bool) -> list[str]:
        """What is not as it should be."""
        found = []
        if must_be_there:  # it may have to be moved back first
            self.run("check", "victim")
        env = self.env("victim")
        if env is None and must_be_there:
            found.append("the old env is gone")
        if env is not None and names(env) != self.whole:
            found.append(f"the env is not whole: {sorted(names(env) ^ self.whole)[:5]}")
        if tree_hash(self.env("bystander") or self.home) != self.bystander:
            found.append("the other env has changed")
        return found


def kill(bench: Bench, moment_s: float, whole_tree: bool, had_one: bool) -> list[str]:
    """Kill one builder, look, build again, look again."""
    if not had_one:
        bench.run("remove", "victim")
    builder = bench.start("rebuild" if had_one else "build", "victim")
    time.sleep(moment_s)
    doomed = psutil.Process(builder.pid).children(recursive=True) if whole_tree else []
    builder.kill()
    for child in doomed:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    builder.wait()
    found = bench.faults(must_be_there=had_one)
    bench.run("build", "victim")
    return found + bench.faults(must_be_there=True)


def race(bench: Bench, verbs: tuple[str, str]) -> list[str]:
    """Two builders at once."""
    builders = [bench.start(verb, "victim") for verb in verbs]
    said = [builder.communicate()[0] for builder in builders]
    failed = [text for text, one in zip(said, builders, strict=True) if one.returncode]
    return failed + bench.faults(must_be_there=True)


def main() -> None:
    """Print each round; exit with 1 if one was bad."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--races", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    chance = random.Random(given.seed)
    print(f"seed {given.seed}", flush=True)
    bad = 0
    with tempfile.TemporaryDirectory(prefix="asrbench-stress-", ignore_cleanup_errors=True) as root:
        bench = Bench(Path(root))
        began = time.monotonic()
        bench.run("rebuild", "victim")
        build_s = time.monotonic() - began
        for number in range(given.kills):
            moment_s = chance.uniform(0, build_s * 1.05)
            tree, had_one = bool(number & 1), bool(number & 2)
            found = kill(bench, moment_s, tree, had_one)
            what = f"{'tree' if tree else 'controller'}, {'rebuild' if had_one else 'build'}"
            print(f"kill {number + 1} after {moment_s:.2f} s ({what}): {found or 'ok'}", flush=True)
            bad += bool(found)
        for number in range(given.races):
            if number & 1:
                bench.run("remove", "victim")
            verbs = chance.choice((("build", "build"), ("rebuild", "build"), ("rebuild",) * 2))
            found = race(bench, (verbs[0], verbs[1]))
            print(f"race {number + 1} ({' and '.join(verbs)}): {found or 'ok'}", flush=True)
            bad += bool(found)
        left = sorted(path.name for path in bench.home.glob("envs/.[no]*") if path.is_dir())
        print(
            f"{bad} of {given.kills + given.races} rounds were bad; folders left: {left or 'none'}"
        )
    raise SystemExit(1 if bad or left else 0)


if __name__ == "__main__":
    main()
