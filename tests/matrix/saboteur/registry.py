"""Faults, really done: each function harms the process that calls it. Runs inside the env.

A fault gets a Scene: what the host should say next, and the pipe on which it would say it. It dies,
hangs, raises, or returns; what it returns is then the model's text. One that hangs says before that
it has happened.
"""

TEXT = "hello world"
FOREVER_S = 600
FAULTS = {"none": lambda scene: TEXT}


def fault(function):
    FAULTS[function.__name__] = function
    return function


def do(name, scene):
    """Let it happen."""
    return FAULTS[name](scene)
