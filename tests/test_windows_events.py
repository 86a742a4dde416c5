"""The event log's XML in words. Events are written here after Microsoft's published examples and
schemas, not captured: see the module for their names. No Windows was at hand."""

from __future__ import annotations

import pytest

from orchestrator.platforms import windows_events

PID = 7580
SYSTEM = (
    "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System>"
    "<Provider Name='{provider}'/><EventID{qualifiers}>{number}</EventID>"
    "<TimeCreated SystemTime='2026-11-22T03:00:00.1234567Z'/></System>{data}</Event>"
)
PROCESSES = (
    "<UserData><MemoryExhaustionInfo "
    "xmlns='http://www.microsoft.com/Windows/Resource-Exhaustion-Detector/Events'>"
    "<SystemInfo><SystemCommitLimit>17179869184</SystemCommitLimit></SystemInfo><ProcessInfo>"
    "<Process><Name>chrome.exe</Name><ID>99</ID><CommitCharge>590950400</CommitCharge></Process>"
    "<Process><Name>python.exe</Name><ID>7580</ID><CommitCharge>{charge}</CommitCharge></Process>"
    "</ProcessInfo></MemoryExhaustionInfo></UserData>"
)
NAMES = "AppName AppVersion AppTimeStamp ModuleName ModuleVersion ModuleTimeStamp ExceptionCode "
NAMES += "FaultingOffset ProcessId ProcessCreationTime AppPath ModulePath IntegratorReportId"
VALUES = ["python.exe", "3.12.4150.1013", "660d1ab1", "amdhip64_7.dll", "7.1.0.0", "65f1a2b3"]
VALUES += ["c0000409", "000000000007286e"]
EXHAUSTED = (
    "Windows ran out of memory to commit; among those who had most: python.exe (7580) "
    "with 11282 MB committed"
)
FAILED = "python.exe (7580) failed in amdhip64_7.dll 7.1.0.0 with 0xc0000409"


def exhausted(charge="11282399232"):
    provider = "Microsoft-Windows-Resource-Exhaustion-Detector"
    data = PROCESSES.format(charge=charge)
    return SYSTEM.format(provider=provider, qualifiers="", number=2004, data=data)


def failed(pid, named=True, values=VALUES):
    cells = [*values, pid, "01d49e823bbf0b3b", "C:\\python.exe", "C:\\a.dll", "guid"]
    names = [f" Name='{name}'" if named else "" for name in NAMES.split()]
    data = "".join(f"<Data{name}>{cell}</Data>" for name, cell in zip(names, cells, strict=False))
    data = f"<EventData>{data}</EventData>"
    return SYSTEM.format(
        provider="Application Error", qualifiers=" Qualifiers='0'", number=1000, data=data
    )


def restarted(driver="amdwddmg"):
    data = f"<EventData><Data>{driver}</Data><Data/></EventData>"
    return SYSTEM.format(provider="Display", qualifiers=" Qualifiers='0'", number=4101, data=data)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (exhausted(), EXHAUSTED),
        (failed("0x1d9c"), FAILED),  # Windows 11
        (failed("1d9c", named=False), FAILED),  # older: hexadecimal without saying so
        (restarted(), "display driver amdwddmg stopped responding and was restarted"),
    ],
)
def test_an_event_is_said_in_one_line(event, line):
    assert windows_events.lines(event.encode(), [PID, 1]) == [line]


@pytest.mark.parametrize("event", [exhausted(), failed("0x1d9c"), failed("7580")])
def test_an_event_of_another_process_is_not_ours(event):
    assert windows_events.lines(event.encode(), [1, 0x7581]) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_newest_first_becomes_oldest_first_in_each_encoding(encoding):
    output = f"{restarted('nvlddmkm')}\r\n{exhausted()}\r\n".encode(encoding)
    lines = windows_events.lines(output, [PID])
    assert [line.split()[0] for line in lines] == ["Windows", "display"]


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"Access is denied.\r\n",
        b"<Event><System><EventID>2004</EventID>",
        b"<Event><System><EventID>1000</EventID></System></Event>",
        b"<Event/>",
        bytes(range(256)),
        b'<!DOCTYPE x [<!ENTITY a "b">]><Event>&a;</Event>',
        exhausted().replace("7580", "many").encode(),
        failed("0x1d9c", values=VALUES[:3]).encode(),
    ],
)
def test_what_cannot_be_understood_says_nothing(output):
    assert windows_events.lines(output, [PID]) == []


def test_an_odd_value_ends_nothing():
    lines = windows_events.lines(exhausted("lots").encode(), [PID])
    assert lines == [EXHAUSTED.replace(" with 11282 MB committed", "")]
    (line,) = windows_events.lines(restarted("x\u202ey" + "z" * 9_000).encode(), [PID])
    assert len(line) == windows_events.MAX_CHARS
    assert "\u202e" not in line
    many = restarted() * 40
    assert len(windows_events.lines(many.encode(), [PID])) == windows_events.MAX_LINES


def test_a_query_asks_for_the_workers_lifetime_and_a_bounded_number():
    queries = windows_events.queries(12.5)
    assert set(queries) == {"System", "Application"}
    for arguments in queries.values():
        assert "timediff(@SystemTime) <= 13500]" in arguments[0]
        assert arguments[0].startswith("/q:*[System[")
        assert arguments[0].count("[") == arguments[0].count("]")
        assert f"/c:{windows_events.MAX_EVENTS}" in arguments
