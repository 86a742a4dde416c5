"""Text from models and files, made safe for a terminal."""

from __future__ import annotations


def printable(text: str, limit: int = 2000) -> str:
    """One line without control characters, so that a transcript cannot steer a terminal."""
    flat = " ".join(text.split())
    shown = "".join(char if char.isprintable() else "�" for char in flat[:limit])
    return shown + ("…" if len(flat) > limit else "")


def printable_lines(text: str) -> str:
    """Several lines without other control characters."""
    return "\n".join(
        "".join(char if char.isprintable() or char == "\t" else "�" for char in line)
        for line in text.splitlines()
    )


def minutes(seconds: float) -> str:
    """1:05 or 2:01:05."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    clock = f"{rest // 60}:{rest % 60:02d}"
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else clock
