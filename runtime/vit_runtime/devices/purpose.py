"""What a model is to be good at."""

from __future__ import annotations

from typing import Literal, TypeAlias

Purpose: TypeAlias = Literal["latency", "throughput"]
"""What is to be fast: the answer for one picture, or pictures a second.

For "latency" all threads of a processor work on one picture. For "throughput" each works on a picture of its own.
"""
