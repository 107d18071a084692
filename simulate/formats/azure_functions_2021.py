"""Azure Functions trace of 2021: a row an invocation, stamped at its end.

Columns `app,func,end_timestamp,duration`, both times in seconds; arrival = end − duration. `key` numbers the functions.
Source: github.com/Azure/AzurePublicDataset, AzureFunctionsInvocationTrace2021.md.
"""

from __future__ import annotations

from .flat import Flat

AZURE_FUNCTIONS_2021 = Flat(
    "azure-functions-2021", frozenset({"app", "func", "end_timestamp", "duration"}), "end_timestamp", "s",
    "duration", "s", ends=True, columns={"key": "func"},
)  # fmt: skip
