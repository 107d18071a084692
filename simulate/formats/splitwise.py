"""SplitwiseSim's traces: a row a request, `arrival_timestamp` in seconds.

Columns `request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size`. `key` is the application.
Source: github.com/Mutinifni/splitwise-sim, traces/.
"""

from __future__ import annotations

from .flat import Flat

SPLITWISE = Flat(
    "splitwise", frozenset({"arrival_timestamp", "prompt_size", "token_size"}), "arrival_timestamp", "s",
    columns={"context_tokens": "prompt_size", "generated_tokens": "token_size", "key": "application_id"},
    identity="request_id",
)  # fmt: skip
