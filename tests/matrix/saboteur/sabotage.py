"""All faults; see registry.py."""

from . import processes, replies
from .registry import FAULTS, TEXT, do

__all__ = ["FAULTS", "TEXT", "do", "processes", "replies"]
