"""Vidur's traces: `arrived_at` in seconds, `num_prefill_tokens`, `num_decode_tokens`.

Source: github.com/microsoft/vidur, data/processed_traces.
"""

from __future__ import annotations

from .flat import Flat

VIDUR = Flat(
    "vidur", frozenset({"arrived_at", "num_prefill_tokens", "num_decode_tokens"}), "arrived_at", "s",
    columns={"context_tokens": "num_prefill_tokens", "generated_tokens": "num_decode_tokens"},
)  # fmt: skip
