"""What a check found, in words: a line for each step, and more lines where one is not enough."""

from __future__ import annotations

from orchestrator.checkpoint_files import size_words
from orchestrator.run.check_steps import (
    CheckpointFound,
    DeviceFound,
    EnvFound,
    Found,
    MemoryFound,
    SpeechFound,
)
from schemas.records import LoadTimes, MemoryPeak

MOST_DETAILS = 20
_BOUNDS = {"exact": "", "lower": "at least ", "upper": "at most ", "unknown": "about "}


def line(found: Found) -> str:
    """The step's own."""
    match found:
        case EnvFound():
            return _env(found)
        case CheckpointFound():
            return _checkpoint(found)
        case LoadTimes():
            return _load(found)
        case SpeechFound():
            return _speech(found)
        case DeviceFound():
            return _device(found)
        case MemoryFound():
            return _memory(found)


def more(found: Found) -> list[str]:
    """Below it."""
    if isinstance(found, EnvFound):
        return [f"not {name}: {why}" for name, why in found.not_used.items()]
    if isinstance(found, SpeechFound):
        return [f"text: {found.text}", f"said: {found.reference}{_cut(found)}"]
    return []


def _env(found: EnvFound) -> str:
    target = f" ({found.target})" if found.target else ""
    built = f"built now in {found.build_s:.1f} s" if found.built_now else "built before"
    return f"ok: {found.accelerator}{target}, Python {found.python}, {built}: {found.folder}"


def _checkpoint(found: CheckpointFound) -> str:
    if found.path is None:
        return "ok: none needed, its env brings all that it needs"
    if found.verified_at:
        return f"ok: verified {found.verified_at:%Y-%m-%d %H:%M} UTC: {found.path}"
    proof = {"given": "given by hand", "unverified": "not verified here"}.get(found.proof, "")
    return f"ok: {proof}: {found.path}"


def _load(times: LoadTimes) -> str:
    return (
        f"ok: {times.total_s:.2f} s (process {times.spawn_s:.2f}, "
        f"interpreter {times.interpreter_s:.2f}, imports {times.imports_s:.2f}, "
        f"weights {times.weights_s:.2f})"
    )


def _speech(found: SpeechFound) -> str:
    speed = f"RTFx {found.rtfx:.1f}, " if found.rtfx else ""
    return f"ok: {found.audio_s:.1f} s of speech in {found.time_s:.2f} s ({speed}its first answer)"


def _cut(found: SpeechFound) -> str:
    if found.recording_s is None or found.recording_s <= found.audio_s:
        return ""
    return f" (in {found.recording_s:.1f} s, of which it heard {found.audio_s:.1f} s)"


def _device(found: DeviceFound) -> str:
    # what was asked for, in options, is only repeated here
    told = {name: value for name, value in found.details.items() if not name.startswith("option_")}
    details = [f"{name} {value}" for name, value in told.items() if name != "device"]
    shown = details[:MOST_DETAILS] + ["…"] * (len(details) > MOST_DETAILS)
    device = "its worker does not tell" if found.device == "unknown" else found.device
    return f"ok: {', '.join([device, *shown])}"


def _memory(found: MemoryFound) -> str:
    if found.peak is None:
        return "ok: nothing on this system counts it"
    loading = f"; {_peak(found.load)} until it was loaded" if found.load else ""
    devices = [
        f"; {size_words(one.peak_bytes)} of {one.device} ({one.method})" for one in found.device
    ]
    return f"ok: {_peak(found.peak)} ({found.peak.method}){loading}{''.join(devices)}"


def _peak(peak: MemoryPeak) -> str:
    return _BOUNDS[peak.bound] + size_words(peak.peak_bytes)
