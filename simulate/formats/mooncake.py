"""Mooncake traces: JSON lines of a request each, in milliseconds from the start.

Keys `timestamp` (ms), `input_length`, `output_length` (tokens), `hash_ids` (prefix blocks of 512 tokens; not kept). The stamps of
the published conversation trace lie on a grid of three seconds, which is found and spread.
Source: github.com/kvcache-ai/Mooncake, FAST25-release.
"""

from __future__ import annotations

from .flat import Flat

MOONCAKE = Flat(
    "mooncake", frozenset({"timestamp", "input_length", "output_length"}), "timestamp", "ms",
    columns={"context_tokens": "input_length", "generated_tokens": "output_length"},
)  # fmt: skip
