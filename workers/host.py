"""The process around a worker. Started by path: python -I host.py PARENT_PID NETWORK

NETWORK is what it says of its network: "none" if there is none, see seclusion.py.
It claims the pipes, says hello, then answers requests one at a time until stdin closes:

    Import      import the worker module, check its functions against its options  → Imported
    Load        load(checkpoint, device, **options)                                → Loaded
    Trace       from where what is loaded came                                     → Origins
    Transcribe, Audio…, Audio(last)   transcribe(model, audio, **options)  → Partial…, Transcript
    Transcribe(held), Audio…, Audio(last), …, TranscribeHeld
                transcribe_batch(model, audios, **options)     → Transcript…
    Cancel      forget the snippet that began

Any exception becomes a Failure and the host lives on; only the controller judges deaths.

A worker is a module with two functions, and needs nothing from this project:

    load(checkpoint, device, **options) → any object: the loaded model
    transcribe(model, audio, **options) → str, or a dict with "text" and further scalars
        audio: 1-D float32, 16 kHz mono, in [-1, 1]. May also be a generator: each text that it
        yields is the transcript so far, the last one is the result.

and may have two more. One tells what is really in use, the other takes several snippets at once,
with the options of transcribe(), and returns a result for each:

    describe(model) → dict of scalars; "device" is the accelerator's name as read back
    transcribe_batch(model, audios, **options) → list of what transcribe() returns

Runs on Python 3.9 with the standard library, msgpack and numpy.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as a type checker sees it; typing itself can wait
if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator
    from typing import Any

    from schemas.messages import Audio, Import, Load, Reply, Request, Transcribe, TranscribeHeld
    from workers.audio_buffer import AudioBuffer, Waste


def claim_pipes() -> tuple[int, int]:
    """Keep stdin and stdout for frames alone; must run before anything else is imported.

    Afterwards fd 0 is null and fd 1 is stderr, so that what Python, C++ or a grandchild prints
    lands in the log. Returns the private fds (requests, replies); they are not inherited.
    """
    requests, replies = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(requests, os.O_BINARY)
        msvcrt.setmode(replies, os.O_BINARY)
    return requests, replies


if __name__ == "__main__":
    _REQUESTS_FD, _REPLIES_FD = claim_pipes()

import importlib  # noqa: E402
import importlib.util  # noqa: E402
import inspect  # noqa: E402
import time  # noqa: E402
import types  # noqa: E402


def mount_package(name: str, folder: str) -> None:
    """Make one folder importable as a package without putting its parent on sys.path.

    The parent may be the controller's site-packages, and nothing from there may be seen here.
    """
    package = types.ModuleType(name)
    package.__path__ = [folder]
    sys.modules[name] = package


def import_worker(worker: str) -> types.ModuleType:
    """The worker module by its name in workers/, or by the path of a worker.py."""
    if not worker.endswith(".py"):
        return importlib.import_module("workers." + worker)
    folder, filename = os.path.split(worker)
    if not os.path.isfile(worker):
        raise FileNotFoundError(f"there is no worker at {worker}")
    mount_package("stack", folder)  # so that a worker.py may say: from . import helper
    return importlib.import_module("stack." + os.path.splitext(filename)[0])


class Host:
    """State between requests: the worker module, its model, the snippet that is arriving."""

    def __init__(self, send: Callable[[Reply], None]) -> None:
        self._send = send
        self._module: Any = None
        self._model: Any = None
        self._options: dict[str, Any] = {}
        self._transcribe_options: dict[str, Any] = {}
        self._audio: AudioBuffer | Waste | None = None
        self._hold = False  # the snippet that is arriving
        self._held: list[tuple[str, Any]] = []  # by name, samples; None where memory ran out

    def place(self, header: dict[str, Any], length: int) -> memoryview:
        """Where the blob of the frame with this header is read to."""
        if header.get("kind") != "audio" or self._audio is None:
            raise ValueError("a blob came without a snippet")
        try:
            return self._audio.tail(length)
        except MemoryError:
            return self._waste().tail(length)

    def answer(self, request: Request) -> None:
        """Carry out one request and send its replies."""
        getattr(self, "_on_" + request.kind)(request)

    def _on_import(self, request: Import) -> None:
        start = time.perf_counter()
        module = import_worker(request.worker)
        check_functions(module, request.options, request.transcribe_options)
        importlib.import_module("workers.audio_buffer")  # numpy now, not in a transcription
        self._module, self._options = module, request.options
        self._transcribe_options = request.transcribe_options
        import_s = time.perf_counter() - start
        self._send(messages.Imported(import_s=import_s, batches=batches(module)))

    def _on_load(self, request: Load) -> None:
        start = time.perf_counter()
        self._model = self._module.load(request.checkpoint, request.device, **self._options)
        load_s = time.perf_counter() - start
        describe = getattr(self._module, "describe", None)
        details = options_in_use(self._module, self._options, self._transcribe_options)
        details.update(describe(self._model) if describe else {})
        # a worker that cannot tell is believed for the CPU only: no accelerator is claimed unproved
        device = details.pop("device", "cpu" if request.device == "cpu" else "unknown")
        self._send(messages.Loaded(device=device, load_s=load_s, details=details))

    def _on_trace(self, request: Request) -> None:
        from workers.origins import origins

        self._send(origins())

    def _on_transcribe(self, request: Transcribe) -> None:
        from workers.audio_buffer import AudioBuffer  # with numpy: hello comes without

        self._hold = request.held
        try:
            self._audio = AudioBuffer(request.samples_hint)
        except MemoryError:
            self._waste()

    def _waste(self) -> Waste:
        """No memory for more samples: what comes still has to be read before that can be said."""
        from workers.audio_buffer import Waste

        self._held = [(snippet, None) for snippet, _ in self._held]
        self._audio = waste = Waste()
        return waste

    def _on_cancel(self, request: Request) -> None:
        self._audio = None

    def _on_audio(self, request: Audio) -> None:
        if self._audio is None or not request.last:
            return
        audio, self._audio = self._audio.samples(), None
        if self._hold:
            self._held.append((request.snippet, audio))
            return
        check_there([audio])
        start = time.perf_counter()
        result = self._module.transcribe(self._model, audio, **self._transcribe_options)
        if inspect.isgenerator(result):
            result = self._last_of(result, request.snippet)
        infer_s = time.perf_counter() - start
        self._tell(request.snippet, audio, infer_s, answer_of(result))

    def _on_transcribe_held(self, request: TranscribeHeld) -> None:
        held, self._held = self._held, []
        audios = [audio for _, audio in held]
        check_there(audios)
        start = time.perf_counter()
        results = self._module.transcribe_batch(self._model, audios, **self._transcribe_options)
        infer_s = time.perf_counter() - start
        answers = answers_of(results, len(held))  # all of them, before the first is sent
        for (snippet, audio), answer in zip(held, answers):
            self._tell(snippet, audio, infer_s, answer)

    def _tell(self, snippet: str, audio: Any, infer_s: float, answer: tuple[str, Any]) -> None:
        text, details = answer
        self._send(messages.Transcript(snippet, text, len(audio), infer_s, details))

    def _last_of(self, results: Iterator[Any], snippet: str) -> Any:
        result: Any = ""
        for result in results:
            text = result.get("text") if isinstance(result, dict) else result
            self._send(messages.Partial(snippet=snippet, text=checked_text(text)))
        return result


def check_there(audios: list[Any]) -> None:
    if any(audio is None for audio in audios):
        raise MemoryError("no memory for all samples of what was to be transcribed")


def write_all(stream: io.FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


def serve(requests: io.FileIO, replies: io.FileIO, network: str) -> None:
    """Answer requests until stdin closes."""

    def let_go() -> None:
        requests.close()
        replies.close()

    if hasattr(os, "register_at_fork"):  # a forked child must not keep our pipes open
        os.register_at_fork(after_in_child=let_go)

    def send(reply: Reply) -> None:
        write_all(replies, framing.encode_frame(vars(reply)))

    host = Host(send)
    send(
        messages.Hello(
            protocol=messages.PROTOCOL,
            pid=os.getpid(),
            python=sys.version.split()[0],
            prefix=sys.prefix,
            path=list(sys.path),
            network=network,
        )
    )
    while True:
        frame = framing.read_frame(requests, host.place)
        if frame is None:
            return
        header = dict(frame[0])
        request = messages.REQUESTS[header.pop("kind")](**header)
        try:
            host.answer(request)
        except Exception as error:  # noqa: BLE001 the one place where a model's error is caught
            send(failure_of(error))


if __name__ == "__main__":
    _ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    mount_package("schemas", os.path.join(_ROOT, "schemas"))
    mount_package("workers", os.path.join(_ROOT, "workers"))
    from workers import lifeline

    lifeline.die_with(int(sys.argv[1]))
    from schemas import framing, messages
    from workers.contract import (
        answer_of,
        answers_of,
        batches,
        check_functions,
        checked_text,
        failure_of,
        options_in_use,
    )

    # closed on every way out: Python 3.9 crashes if it has to do that itself at its very end
    with open(_REQUESTS_FD, "rb", buffering=0) as _in, open(_REPLIES_FD, "wb", buffering=0) as _out:
        serve(_in, _out, sys.argv[2])
