from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.execution import Execution
from windtunnel.hardware import Hardware
from windtunnel.model_card import model_card
from windtunnel.variant import Origin, Variant

if TYPE_CHECKING:
    from pathlib import Path

FACTS: dict[str, Any] = {
    "metric": "roc_auc", "quality": 0.75, "parent_quality": 0.752, "quality_drop": 0.002, "quality_drop_low": -0.001,
    "quality_drop_high": 0.004, "confidence": 0.9975, "rows": 12_345, "reason": "proven: loses at most 0.0040 roc_auc; allowed 0.005",
    "flips": {"share": 0.01, "negative": 0.004, "positive": 0.006, "first_row": 3},
    "calibration": {"ece": 0.02, "parent_ece": 0.021, "shift": -0.003, "bins": []},
    "slices": [{"column": "origin", "value": "= JFK", "rows": 400, "drop": 0.01, "drop_low": -0.01, "drop_high": None}],
    "speedup": 2.5, "speedup_low": 2.4, "speedup_high": 2.6, "p50_s": {"1": 0.0024, "32": 0.03}, "steady": True,
    "batch_dependence": {"largest": 1e-7, "neighbours": 0.0, "decisions": 0.0, "padded": 0.01, "rows": 48},
    "made_of": [{"name": "fp32", "sha256": "a" * 64, "origin": {"step": "export", "parent": "", "settings": {"opset": 18}}}],
    "memory_bytes": None, "warnings": ["On the moon it freezes."], "quantized_operators": 3, "heavy_operators": 4,
    "checks": {
        "other_processors": [
            {"target": "arm64", "outcome": "unknown", "largest": None, "why": "its kernels differ", "remedy": "check it there"},
            {"target": "x86-64 without VNNI", "outcome": "differs", "largest": 0.2, "why": "it saturates", "remedy": ""},
            {"target": "x86-64 with VNNI", "outcome": "same", "largest": 0.0, "why": "it is exact", "remedy": ""},
        ],
        "attribution": {"passed": True, "ndcg": 0.991, "features": 12, "sign": 0.97},
        "robustness": {"breakages": [{"name": "noise", "outcome": "holds", "apart": 0.01}, {"name": "far values", "outcome": "breaks", "apart": 0.4}]},
    },
}  # fmt: skip


@pytest.fixture
def variant(tiny_model: Path) -> Variant:
    made = Variant.from_file(
        tiny_model, name="int8", precision="int8", origin=Origin("dynamic-int8", "a" * 64, {"bits": 8})
    )
    return replace(made, execution=Execution(threads=2))


def _card(variant: Variant, facts: dict[str, Any]) -> str:
    hardware = Hardware("A processor", "x86_64", ("AVX2",), 2.0, 2**33).to_dict()
    allowed = {"numbers": 0.05, "decisions": 0.125}
    return model_card(
        variant, {"facts": facts, "made_on": hardware, "requirements": ["numpy==2.0"], "allowed": allowed}
    )


def test_what_was_found_is_told(variant: Variant) -> None:
    """Every finding of the search stands in the card, with its interval and how it was made."""
    card = _card(variant, FACTS)

    for sentence in (
        "- int8 weights, ",
        "- 3 of its 4 heavy operators compute in integers.",
        "- Takes `x` float32 [batch, 4].",
        f"- Step `dynamic-int8` of the file with sha256 `{'a' * 64}`: bits=8.",
        f"- That was `fp32`, sha256 `{'a' * 64}`: step `export`: opset=18.",
        "roc_auc 0.75, the parent's 0.752: it loses 0.002 (-0.001 to 0.004), on 12,345 rows that no step has learnt from.",
        "paired; 99.75% confidence. Proven: loses at most 0.0040 roc_auc; allowed 0.005.",
        "1.00% of the rows are decided otherwise than by the parent, 0.40% from right to wrong.",
        "(ECE) 0.02, the parent's 0.021; probabilities moved by -0.003 on average.",
        "Where origin = JFK (400 rows) it loses 0.01 (-0.01 to an unknown amount).",
        "2.5 × as fast as the parent (2.4 to 2.6)",
        "Batch 32: 30 ms in the median.",
        "On A processor, 2 cores, 8 GiB, AVX2.",
        "an answer moves by up to 0 with its neighbours, by 1e-07 with the size of its batch, by 0.01 with its padding.",
        "numbers be off by 0.05 of the largest and 12.5% of decisions",
        "On arm64 the answers are not known: its kernels differ; check it there.",
        "On x86-64 without VNNI the answers are others, by up to 0.2: it saturates.",
        "On x86-64 with VNNI the answers are the same up to rounding: it is exact.",
        "It looks at what the parent looks at: nDCG 0.991 of 12 features, 97.0% of effects",
        "Under noise it holds where the parent holds",
        "Under far values it breaks where the parent held (further from the parent by 0.4).",
        "It was proven with session.intra_op.allow_spinning=0, which Triton cannot be told.",
        "- On the moon it freezes.",
        "- How much memory a process that serves it takes.",
    ):
        assert sentence in card, sentence
    assert "What it answers on other processors" not in card


def test_what_is_not_known_is_said(variant: Variant) -> None:
    """A model that nobody compared has a card that claims nothing."""
    card = _card(variant, {})

    for sentence in (
        "Not compared with anything.",
        "Not measured.",
        "Not looked at.",
        "The licence",
        "Not stated. Whoever ships it",
    ):
        assert sentence in card, sentence
    assert card.count("\n## ") == 11


def test_every_metric_may_be_unknown(variant: Variant) -> None:
    """An interval that could not be drawn, and a batch of one size, are said in words."""
    nothing = {
        "parent_quality": None,
        "quality_drop_low": None,
        "quality_drop_high": None,
        "flips": None,
        "calibration": None,
    }
    dependence = {"largest": 0.0, "neighbours": 0.0, "decisions": 0.0, "padded": None, "rows": 0}
    card = _card(
        variant,
        FACTS | nothing | {"slices": [], "batch_dependence": dependence, "steady": False, "memory_bytes": 2**28},
    )

    assert "the parent's an unknown amount" in card
    assert "The batch is fixed at one size" in card
    assert "Warm-up did not end in a steady state everywhere." in card
    assert "no slice was named" in card
    assert "A process that serves it takes 256 MiB of memory." in card
