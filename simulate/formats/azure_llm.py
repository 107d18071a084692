"""Azure LLM inference traces of 2023 and 2024: a row a request, with its tokens.

Columns `TIMESTAMP,ContextTokens,GeneratedTokens`; stamps such as `2023-11-16 18:17:03.9799600` (seven decimals, no zone: read
as UTC) or, in 2024, `2024-05-10 00:00:00.009930+00:00`. The multimodal trace adds `NumImages`. Stamps mark arrivals.
Source: github.com/Azure/AzurePublicDataset, AzureLLMInferenceDataset2023.md and AzureLLMInferenceDataset2024.md.
"""

from __future__ import annotations

from .flat import Flat

AZURE_LLM = Flat(
    "azure-llm", frozenset({"TIMESTAMP", "ContextTokens", "GeneratedTokens"}), "TIMESTAMP",
    columns={"context_tokens": "ContextTokens", "generated_tokens": "GeneratedTokens", "images": "NumImages"},
)  # fmt: skip
