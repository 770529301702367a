"""Small pieces of sentences that several parts need."""

from __future__ import annotations


def plural(number: int, noun: str) -> str:
    """A number with its noun: "1 thread", "2 threads"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
