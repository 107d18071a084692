"""BurstGPT: a row a request to a GPT service, at a second's resolution.

Columns `Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type`; older files lack
`Session ID` and `Elapsed time`. `Timestamp` is in seconds from the first day's midnight; no response tokens mean a failure,
which arrived all the same and is kept. `key` numbers the models.
Source: github.com/HPMLL/BurstGPT, README.
"""

from __future__ import annotations

from .flat import Flat

BURSTGPT = Flat(
    "burstgpt", frozenset({"Timestamp", "Request tokens", "Response tokens", "Log Type"}), "Timestamp", "s",
    "Elapsed time", "s",
    columns={"context_tokens": "Request tokens", "generated_tokens": "Response tokens", "key": "Model"},
)  # fmt: skip
