"""What the Windows event log says of a process: arguments for wevtutil, and its XML in words.

Read as XML because the text form is in the language of the system. Events (Microsoft's names):
    System       2004  Resource-Exhaustion-Detector: commit ran out; who had most of it
    System       4101  Display: a display driver stopped answering and was started anew
    Application  1000  Application Error: a process ended by an exception; in which module.
                       Seldom, because error reporting is off for workers: nobody is there to click
"""

from __future__ import annotations

import re
from collections.abc import Collection
from xml.etree import ElementTree

MAX_EVENTS = 50
MAX_LINES = 5
MAX_CHARS = 500
SLACK_S = 1.0
_SELECTED = {
    "System": "(Provider[@Name='Microsoft-Windows-Resource-Exhaustion-Detector'] and EventID=2004)"
    " or (Provider[@Name='Display'] and EventID=4101)",
    "Application": "Provider[@Name='Application Error'] and EventID=1000",
}
_XML_DECLARATION = re.compile(r"<\?xml[^>]*\?>")


def queries(age_s: float) -> dict[str, list[str]]:
    """Arguments of "wevtutil qe CHANNEL" for the events of the last age_s, by channel."""
    age_ms = round((max(age_s, 0.0) + SLACK_S) * 1000)
    return {
        channel: [
            f"/q:*[System[({selected}) and TimeCreated[timediff(@SystemTime) <= {age_ms}]]]",
            "/f:xml",
            "/uni:true",
            "/rd:true",  # newest first, as many as are asked for
            f"/c:{MAX_EVENTS}",
        ]
        for channel, selected in _SELECTED.items()
    }


def lines(output: bytes, pids: Collection[int]) -> list[str]:
    """One line for each event that names one of the processes, or a display driver; oldest first.

    output: what wevtutil wrote, UTF-16 or UTF-8, one <Event> after the other. What cannot be
    understood says nothing.
    """
    text = _XML_DECLARATION.sub("", _decoded(output))
    try:
        # inside an element no DTD is allowed, and so no entity
        events = ElementTree.fromstring(f"<Events>{text}</Events>")  # noqa: S314
    except ElementTree.ParseError:
        return []
    found = [line for event in reversed(events) if (line := _line(event, pids))]
    return [_printable(line) for line in found[-MAX_LINES:]]


def _line(event: ElementTree.Element, pids: Collection[int]) -> str | None:
    number = next((node.text for node in event.iter() if _tag(node) == "EventID"), None)
    if number == "2004":
        return _exhaustion(event, pids)
    data = [node.text or "" for node in event.iter() if _tag(node) == "Data"]
    if number == "1000":
        return _application_error(data, pids)
    if number == "4101":
        return f"display driver {data[0] if data else ''} stopped responding and was restarted"
    return None


def _exhaustion(event: ElementTree.Element, pids: Collection[int]) -> str | None:
    for process in event.iter():
        values = {_tag(node): node.text or "" for node in process}
        if {"Name", "ID", "CommitCharge"} <= set(values) and _number(values["ID"], 10) in pids:
            charge = _number(values["CommitCharge"], 10)
            held = "" if charge is None else f" with {charge / 1e6:.0f} MB committed"
            return (
                f"Windows ran out of memory to commit; among those who had most: "
                f"{values['Name']} ({values['ID']}){held}"
            )
    return None


def _application_error(data: list[str], pids: Collection[int]) -> str | None:
    """The order is the same with and without names: ..., module, ..., code, offset, pid in hex."""
    if len(data) < 9 or _number(data[8], 16) not in pids:
        return None
    return f"{data[0]} ({_number(data[8], 16)}) failed in {data[3]} {data[4]} with 0x{data[6]}"


def _decoded(output: bytes) -> str:
    if output[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return output.decode("utf-16", "replace")
    if b"\0" in output[:4]:
        return output.decode("utf-16-le", "replace")
    return output.decode("utf-8-sig", "replace")


def _tag(node: ElementTree.Element) -> str:
    return node.tag.rpartition("}")[2]


def _number(text: str, base: int) -> int | None:
    try:
        return int(text.strip(), base)
    except ValueError:
        return None


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() else "�" for char in line[:MAX_CHARS])
