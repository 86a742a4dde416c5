"""The host inside a bare env: the oldest Python that it promises, and the one of these tests.

The env holds msgpack and numpy and nothing else; the protocol is spoken by hand.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import uv
from conftest import ROOT, runs

from orchestrator.platforms import venv_python, worker_network
from orchestrator.supervisor.spec import host_command
from schemas import framing, messages

LIMIT_S = 60  # far more than any step needs

SAY = "def load(checkpoint, device):\n    return 1\n\n\ndef transcribe(model, audio):\n    "
FACTS = """
from . import helper


def load(checkpoint, device, threads=1):
    return {"checkpoint": checkpoint, "threads": threads}


def transcribe(model, audio, beams=1):
    found = []
    for name in ("pydantic", "orchestrator", "pytest", "click"):
        try:
            __import__(name)
            found.append(name)
        except ImportError:
            pass
    return {"text": helper.greeting(), "sum": float(audio.sum()), "dtype": str(audio.dtype),
            "found": ",".join(found), "beams": beams, **model}
"""


def old_python():
    """A Python 3.9 that really runs; pyenv's shim of that name may not."""
    candidates = [os.environ.get("PYTHON39"), shutil.which("python3.9")]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates += sorted(map(str, pyenv.glob("versions/3.9.*/bin/python")))
    asked = subprocess.run(
        [uv.find_uv_bin(), "python", "find", "3.9"],
        env=os.environ | {"UV_PYTHON_DOWNLOADS": "never"},
        capture_output=True,
        text=True,
    )
    candidates.append(asked.stdout.strip())
    for candidate in filter(None, candidates):
        asked = subprocess.run(
            [candidate, "-c", "import sys; print(*sys.version_info[:2])"],
            capture_output=True,
            text=True,
        )
        if asked.stdout.strip() == "3 9":
            return candidate
    return None


@pytest.fixture(scope="session")
def bare_env(environment, tmp_path_factory):
    """Make an env with msgpack and numpy for a Python; its interpreter."""
    made = {}

    def make(python):
        if python not in made:
            folder = tmp_path_factory.mktemp("bare ënv") / "env"
            for arguments in (
                ["venv", "--python", python, folder],
                [
                    "pip",
                    "install",
                    "--python",
                    venv_python(folder),
                    "--compile-bytecode",
                    "msgpack",
                    "numpy",
                ],
            ):
                done = subprocess.run(
                    [uv.find_uv_bin(), *arguments], env=environment, capture_output=True, text=True
                )
                assert done.returncode == 0, done.stderr
            made[python] = venv_python(folder)
        return made[python]

    return make


class Wire:
    """A host and both ends of its pipes. A host that hangs is killed, and its stream ends."""

    def __init__(self, python, folder):
        self.log = folder / "log.txt"
        self.network = worker_network(python)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                host_command(python, self.network),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                cwd=folder,
            )
        self.timer = threading.Timer(LIMIT_S, self.process.kill)
        self.timer.start()
        self.hello = self.receive()

    def send(self, message, blob=b""):
        data = memoryview(framing.encode_frame(asdict(message), blob) + bytes(blob))
        while data:
            data = data[self.process.stdin.write(data) :]

    def receive(self):
        frame = framing.read_frame(self.process.stdout)
        assert frame is not None, self.log.read_text(encoding="utf-8")
        return frame[0]

    def ask(self, message, blob=b""):
        self.send(message, blob)
        return self.receive()

    def transcribe(self, *blocks, name="a"):
        self.send(messages.Transcribe(name, 1))
        for block in blocks[:-1]:
            self.send(messages.Audio(name, False), block.astype("<f4").tobytes())
        return self.ask(messages.Audio(name, True), blocks[-1].astype("<f4").tobytes())

    def end(self):
        self.process.stdin.close()
        status = self.process.wait(LIMIT_S)
        self.timer.cancel()
        self.process.stdout.close()
        return status


@pytest.fixture
def wire(bare_env, tmp_path):
    """Start a host: wire(python) with the tests' own Python if none is named."""
    started = []

    def start(python=sys.executable):
        started.append(Wire(bare_env(python), tmp_path))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.end()


@pytest.fixture
def ready(wire, tmp_path):
    """A host with a loaded worker of this source."""

    def make(source, device="cpu", **options):
        (tmp_path / "worker.py").write_text(source, encoding="utf-8")
        host = wire()
        imported = host.ask(messages.Import(str(tmp_path / "worker.py"), **options))
        assert imported["kind"] == "imported", imported
        host.loaded = host.ask(messages.Load(None, device))
        return host

    return make


@pytest.mark.parametrize("python", ["3.9", "the tests' own"])
def test_a_worker_is_served_in_an_env_with_nothing_but_msgpack_and_numpy(wire, tmp_path, python):
    found = old_python() if python == "3.9" else sys.executable
    if found is None:
        pytest.skip("no Python 3.9 on this machine; PYTHON39 may name one")
    (tmp_path / "worker.py").write_text(FACTS, encoding="utf-8")
    (tmp_path / "helper.py").write_text("def greeting():\n    return 'grüße'\n", encoding="utf-8")
    host = wire(found)

    assert host.hello["kind"] == "hello"
    assert (host.hello["protocol"], host.hello["network"]) == (messages.PROTOCOL, host.network)
    if python == "3.9":
        assert host.hello["python"].startswith("3.9.")
    own = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")} | {ROOT}
    for entry in map(Path, host.hello["path"]):
        assert entry.is_absolute()
        assert not own & {entry.resolve(), *entry.resolve().parents}, entry

    worker = str(tmp_path / "worker.py")
    assert host.ask(messages.Import(worker, {"threads": 3}, {"beams": 5}))["kind"] == "imported"
    loaded = host.ask(messages.Load("/some/where", "cpu"))
    assert (loaded["kind"], loaded["device"], loaded["details"]) == (
        "loaded",
        "cpu",
        {"option_threads": 3, "option_beams": 5},
    )
    origins = host.ask(messages.Trace())
    assert {"msgpack", "numpy"} <= set(origins["packages"])
    folders = {Path(file).parent for file in origins["modules"].values()}
    assert folders == {ROOT / "workers", ROOT / "schemas", tmp_path.resolve()}
    assert origins["import_path"] == []
    reply = host.transcribe(np.full(1_000, 0.5), np.full(700, -0.25))
    assert reply["kind"] == "transcript", reply
    assert (reply["snippet"], reply["text"], reply["samples"]) == ("a", "grüße", 1_700)
    assert reply["details"] == {
        "sum": 325.0, "dtype": "float32", "found": "", "beams": 5,
        "checkpoint": "/some/where", "threads": 3,
    }  # fmt: skip
    assert host.end() == 0


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        (SAY + "return ''", {"options": {"quantum": 1}}, ["load()", "quantum"]),
        (SAY + "return ''", {"transcribe_options": {"beans": 1}}, ["transcribe()", "beans"]),
        ("def load(checkpoint, device):\n    pass\n", {}, ["no function transcribe()"]),
        ("transcribe = 5\ndef load(checkpoint, device):\n    pass\n", {}, ["transcribe()"]),
        ("def load():\n    pass\ndef transcribe(m, a):\n    pass\n", {}, ["load()", "positional"]),
        ("import no_such_library", {}, ["no_such_library"]),
        ("def load(:", {}, ["invalid syntax"]),
        (None, {}, ["there is no worker at"]),
    ],
)
def test_a_worker_that_cannot_serve_is_a_failure_that_says_why(
    wire, tmp_path, source, options, words
):
    worker = tmp_path / "worker.py"
    if source:
        worker.write_text(source, encoding="utf-8")
    host = wire()
    failure = host.ask(messages.Import(str(worker), **options))
    assert failure["kind"] == "failure"
    assert all(word in failure["message"] for word in words), failure["message"]
    assert failure["traceback"]
    (tmp_path / "second.py").write_text(SAY + "return 'alive'", encoding="utf-8")
    assert host.ask(messages.Import(str(tmp_path / "second.py")))["kind"] == "imported"
    assert host.end() == 0


def test_after_a_cancel_only_the_next_snippet_is_heard(ready):
    host = ready(SAY + "return str(float(audio.sum()))")
    host.send(messages.Transcribe("broken", 100))
    host.send(messages.Audio("broken", False), np.ones(100, "<f4").tobytes())
    host.send(messages.Cancel("broken"))
    reply = host.transcribe(np.full(10, 2.0), np.full(10, 3.0), name="good")
    assert (reply["snippet"], reply["text"], reply["samples"]) == ("good", "50.0", 20)


def test_a_snippet_after_one_that_raised_starts_empty(ready):
    host = ready(SAY + "return str(len(audio)) if len(audio) < 50 else audio.nonsense()")
    assert host.transcribe(np.ones(60))["error_type"] == "AttributeError"
    assert host.transcribe(np.ones(30), np.ones(10))["text"] == "40"


UNTOLD = {
    "a message that no UTF-8 can carry": "raise ValueError('\\udcff')",
    "a message that cannot be made": "raise type('E', (Exception,), {'__str__': None})()",
    "a yield that is no text": "yield 5",
}


@pytest.mark.parametrize("name", UNTOLD)
def test_an_odd_error_is_a_failure_and_the_host_lives_on(ready, name):
    host = ready(SAY + UNTOLD[name])
    for _ in range(2):
        assert host.transcribe(np.ones(4))["kind"] == "failure"


@pytest.mark.parametrize("body", ["return None", "return {'txt': 'a'}", "return '\\udcff'"])
def test_an_answer_that_is_no_text_is_a_failure_and_the_host_lives_on(ready, body):
    host = ready(SAY + body)
    for _ in range(2):
        assert host.transcribe(np.ones(4))["kind"] == "failure"


@pytest.mark.parametrize(("asked", "told"), [("cpu", "cpu"), ("cuda", "unknown")])
def test_a_worker_without_describe_is_believed_for_the_cpu_only(ready, asked, told):
    assert ready(SAY + "return ''", asked).loaded["device"] == told


def test_describe_tells_the_device_and_details(ready):
    source = "\n\ndef describe(model):\n    return {'device': 'vulkan', 'threads': 2}\n"
    loaded = ready(SAY + "return ''" + source, "cpu").loaded
    assert (loaded["device"], loaded["details"]) == ("vulkan", {"threads": 2})


@pytest.mark.parametrize("name", ["numpy.py", "json.py", "schemas.py", "importlib.py"])
def test_a_worker_named_like_a_library_does_not_hide_it(wire, tmp_path, name):
    body = "return json.dumps(int(numpy.sum(audio)))"
    source = "import json, numpy, importlib.util\n" + SAY + body
    (tmp_path / name).write_text(source, encoding="utf-8")
    host = wire()
    assert host.ask(messages.Import(str(tmp_path / name)))["kind"] == "imported"
    assert host.ask(messages.Load(None, "cpu"))["kind"] == "loaded"
    assert host.transcribe(np.ones(5))["text"] == "5"


PARENT = """
import os, subprocess, sys, time
from dataclasses import asdict
from schemas import framing, messages as m
from pathlib import Path
from orchestrator.supervisor.spec import host_command
python, network, worker = sys.argv[1:]
command = host_command(Path(python), network)
process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
requests = [m.Import(worker), m.Load(None, "cpu"), m.Transcribe("a", 1), m.Audio("a", True)]
for request in requests:
    process.stdin.write(framing.encode_frame(asdict(request)))
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread or a job does it")
@pytest.mark.parametrize("network", ["open", "none"])
def test_a_worker_deep_in_c_dies_with_a_controller_that_was_killed(bare_env, tmp_path, network):
    if network == "none" and worker_network(bare_env(sys.executable)) != "none":
        pytest.skip("this system does not let a worker leave the network")
    worker = tmp_path / "worker.py"
    # PyDLL keeps the GIL, so no thread of Python can help
    busy = "print('busy', os.getpid(), flush=True)\n    ctypes.PyDLL(None).sleep(600)"
    worker.write_text("import ctypes, os\n" + SAY + busy, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, bare_env(sys.executable), network, worker],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    ) as parent:
        line = parent.stderr.readline()
        assert line.startswith("busy"), line + parent.stderr.read()
        pid = int(line.split()[1])
        assert runs(pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait(LIMIT_S)
        limit = time.monotonic() + LIMIT_S
        while runs(pid) and time.monotonic() < limit:
            time.sleep(0.01)
        survived = runs(pid)
        if survived:
            os.kill(pid, signal.SIGKILL)
        assert not survived
