"""Harm before there is a worker. An env's .pth file imports this before Python runs the host.

The next line of the file "queue" says at which moment (spawn: at once; hello: in the host, before
it has said hello) and which fault. Without a queue nothing happens.
"""

import os
import sys
from pathlib import Path


def _next():
    import saboteur

    queue = Path(os.environ.get("WHISPER_MATRIX", ""), "queue")
    if hasattr(saboteur, "begun"):  # site reads .pth files twice
        return "none", "none"
    saboteur.begun = True
    if not any(word.endswith("host.py") for word in sys.orig_argv):
        return "none", "none"
    try:
        first, *others = queue.read_text(encoding="utf-8").splitlines()
        queue.write_text("\n".join(others), encoding="utf-8")
    except (OSError, ValueError):
        return "none", "none"
    return first.split()


def _harm(fault, pipe):
    from saboteur import sabotage, version
    from saboteur.wire import Scene

    hello = Scene(
        "hello",
        pipe,
        a_number="protocol",
        protocol=version.PROTOCOL,
        pid=os.getpid(),
        python="3",
        prefix=sys.prefix,
        path=list(sys.path),
        network=sys.orig_argv[-1],  # the host's last argument
    )
    sabotage.do(fault, hello)


def _begin():
    moment, fault = _next()
    if moment == "spawn":
        _harm(fault, 1)
    if moment == "hello":
        waiting = [fault]

        def hook(event, arguments):
            if event == "import" and arguments[0] == "schemas.messages" and waiting:
                _harm(waiting.pop(), None)

        sys.addaudithook(hook)


_begin()
