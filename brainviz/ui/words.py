"""Numbers in words: durations and counts as a page says them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return a duration to two figures or so, e.g. ``"40 s"``, ``"3 min"``, ``"2.5 h"``."""
    if seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def count(number: int, noun: str) -> str:
    """Return e.g. ``"1 run"`` or ``"2 runs"``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def unit_noun(unit: str, number: int = 2) -> str:
    """Return the word for what a column of the responses is, e.g. ``"vertices"``, ``"neurons"``."""
    if number == 1:
        return unit
    return "vertices" if unit == "vertex" else f"{unit}s"
