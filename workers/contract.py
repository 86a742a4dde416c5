"""What the host asks of a worker's module, takes from it, and tells of its errors.

Runs on Python 3.9 with the standard library.
"""

from __future__ import annotations

import inspect
import math
import traceback

from schemas import messages

TYPE_CHECKING = False  # as a type checker sees it; typing itself can wait
if TYPE_CHECKING:
    import types
    from typing import Any

MAX_TRACEBACK_CHARS = 8_000


def check_functions(
    module: types.ModuleType, options: dict[str, Any], transcribe_options: dict[str, Any]
) -> None:
    """Raise an error that names what the worker lacks or does not take."""
    calls: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
        "load": ((None, "cpu"), options),
        "transcribe": ((None, None), transcribe_options),
    }
    if batches(module):
        calls["transcribe_batch"] = ((None, []), transcribe_options)
    for name, (arguments, keywords) in calls.items():
        function = getattr(module, name, None)
        if not callable(function):
            raise AttributeError(  # noqa: TRY004 it is the attribute that is missing
                f"{module.__file__} has no function {name}()"
            )
        try:
            inspect.signature(function).bind(*arguments, **keywords)
        except TypeError as error:
            given = ", ".join(keywords) or "none"
            raise TypeError(f"{name}() in {module.__file__}: {error} (options: {given})") from None


def options_in_use(
    module: types.ModuleType, options: dict[str, Any], transcribe_options: dict[str, Any]
) -> dict[str, Any]:
    """What load() and transcribe() are called with, defaults too, as details: "option_NAME"."""
    found = _keywords(module.load, options)
    found.update(_keywords(module.transcribe, transcribe_options))
    if batches(module):  # transcribe() may hand over all that it is given
        found.update(_keywords(module.transcribe_batch, transcribe_options))
    return {f"option_{name}": _scalar(value) for name, value in found.items()}


def _keywords(function: Any, given: dict[str, Any]) -> dict[str, Any]:
    named = inspect.signature(function).parameters.values()
    defaults = {one.name: one.default for one in named if one.default is not one.empty}
    return {**defaults, **given}


def _scalar(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    return value if value is None or isinstance(value, (str, int)) else repr(value)


def batches(module: types.ModuleType) -> bool:
    """Whether it takes several snippets at once."""
    return hasattr(module, "transcribe_batch")


def answer_of(result: Any) -> tuple[str, dict[str, Any]]:
    """The text of a worker's result, and what it tells besides."""
    details = dict(result) if isinstance(result, dict) else {"text": result}
    return checked_text(details.pop("text", None)), details


def answers_of(results: Any, count: int) -> list[tuple[str, dict[str, Any]]]:
    """The same of a batch, which has to have a result for each of its snippets."""
    if not isinstance(results, (list, tuple)) or len(results) != count:
        found = len(results) if isinstance(results, (list, tuple)) else type(results).__name__
        raise ValueError(f"transcribe_batch() returned {found} where {count} results belong")
    return [answer_of(result) for result in results]


def checked_text(text: Any) -> str:
    """A worker's text, fit to be sent."""
    if not isinstance(text, str):
        raise TypeError(f"transcribe() returned {type(text).__name__} where a text belongs")
    if len(text) > messages.MAX_TEXT_CHARS:
        raise ValueError(f"the transcript has {len(text)} characters; is the model in a loop?")
    text.encode("utf-8")  # half a surrogate pair cannot be sent
    return text


def failure_of(error: Exception) -> messages.Failure:
    """What the controller is told of an exception, however odd it is."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 its own __str__ may fail
        message = "(an error that cannot be printed)"
    return messages.Failure(
        error_type=sendable(type(error).__name__),
        message=sendable(message)[:MAX_TRACEBACK_CHARS],
        traceback=sendable(traceback.format_exc())[-MAX_TRACEBACK_CHARS:],
    )


def sendable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
