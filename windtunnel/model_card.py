"""A ModelCard: what a bundled model is, how it was proven, and what is not known of it, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.hardware import Hardware
from windtunnel.quantity import format_bytes, format_duration, format_figure
from windtunnel.triton_repository import unsaid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from windtunnel.variant import Tensor, Variant

    Facts = Mapping[str, Any]

OWN_WORDS = "USE.md"
"""Where people write what windtunnel cannot know; no digest covers it, and a new bundle in its place keeps it."""

PART_ROWS = 5
"""How many of the worst slices are told."""


def model_card(variant: Variant, record: Facts) -> str:
    """The card, as Markdown.

    Args:
        variant: the model.
        record: of the bundle: `facts` as the optimizing stage found them (empty where nobody compared the model with
            another), `made_on`, `requirements`, `allowed`.
    """
    facts = record["facts"]
    parts = {
        "Intended use": [
            f"Not stated. Whoever ships it writes it into `{OWN_WORDS}` beside this card, which is theirs."
        ],
        "What it is": list(_identity(variant, record)),
        "What it was made from": list(_origin(variant, facts)),
        "Quality": list(_quality(facts)),
        "Speed": list(_speed(facts, record)),
        "In a batch": list(_batch(facts)),
        "On other processors": list(_processors(facts, record)),
        "What it looks at, and what breaks it": list(_checks(facts)),
        "Served by Triton": list(unsaid(variant)) or ["As it was proven."],
        "Warnings": list(facts.get("warnings", ())) or ["None was found by what was looked at."],
        "Not known": list(_unknown(facts)),
    }
    body = "\n".join(f"\n## {title}\n\n" + "\n".join(f"- {line}" for line in lines) for title, lines in parts.items())
    return f"# {variant.name}\n{body}\n"


def _identity(variant: Variant, record: Facts) -> Iterator[str]:
    yield f"{variant.precision} weights, {format_bytes(variant.bytes)}, sha256 `{variant.sha256}`."
    yield f"Run by {', '.join(record['requirements'])}: {variant.execution.label}, floats in {variant.execution.precision}."
    facts = record["facts"]
    if facts.get("heavy_operators"):
        yield f"{facts['quantized_operators']} of its {facts['heavy_operators']} heavy operators compute in integers."
    for side, tensors in (("Takes", variant.signature.inputs), ("Gives", variant.signature.outputs)):
        yield f"{side} {'; '.join(_tensor(each) for each in tensors)}."


def _tensor(tensor: Tensor) -> str:
    shape = ", ".join(str(axis) for axis in tensor.shape)
    return f"`{tensor.name}` {'text' if tensor.dtype == 'object' else tensor.dtype} [{shape}]"


def _origin(variant: Variant, facts: Facts) -> Iterator[str]:
    origin = variant.origin
    parent = f" of the file with sha256 `{origin.parent}`" if origin.parent else ""
    yield f"Step `{origin.step}`{parent}{_settings(origin.settings)}."
    for each in facts.get("made_of", ()):
        step = each["origin"]["step"]
        yield f"That was `{each['name']}`, sha256 `{each['sha256']}`: step `{step}`{_settings(each['origin']['settings'])}."


def _settings(settings: Facts) -> str:
    told = ", ".join(f"{name}={value}" for name, value in sorted(settings.items()))
    return f": {told}" if told else ""


def _quality(facts: Facts) -> Iterator[str]:
    if "metric" not in facts:
        yield "Not compared with anything."
        return
    reason = facts["reason"]
    yield (
        f"{facts['metric']} {_figure(facts['quality'])}, the parent's {_figure(facts['parent_quality'])}: it loses "
        f"{_figure(facts['quality_drop'])} ({_interval(facts, 'quality_drop')}), on {facts['rows']:,} rows that no step has learnt from."
    )
    yield f"How: the same rows through both, paired; {facts['confidence']:.2%} confidence. {reason[:1].upper()}{reason[1:]}."
    flips = facts.get("flips")
    if flips:
        worse = "" if flips["negative"] is None else f", {flips['negative']:.2%} from right to wrong"
        yield f"{flips['share']:.2%} of the rows are decided otherwise than by the parent{worse}."
    calibration = facts.get("calibration")
    if calibration:
        ece, before = _figure(calibration["ece"]), _figure(calibration["parent_ece"])
        yield f"Calibration error (ECE) {ece}, the parent's {before}; probabilities moved by {calibration['shift']:+.2g} on average."
    for part in facts.get("slices", ())[:PART_ROWS]:
        lost = f"{_figure(part['drop'])} ({_interval(part, 'drop')})"
        yield f"Where {part['column']} {part['value']} ({part['rows']:,} rows) it loses {lost}."


def _speed(facts: Facts, record: Facts) -> Iterator[str]:
    if "speedup" not in facts:
        yield "Not measured."
        return
    yield f"{_figure(facts['speedup'])} × as fast as the parent ({_interval(facts, 'speedup')}), timed side by side in turns."
    for cell, each in facts.get("p50_s", {}).items():
        yield f"Batch {cell}: {format_duration(each)} in the median."
    if facts.get("memory_bytes"):
        yield f"A process that serves it takes {format_bytes(facts['memory_bytes'])} of memory."
    if not facts.get("steady", True):
        yield "Warm-up did not end in a steady state everywhere."
    yield f"On {Hardware.from_dict(record['made_on'])}."


def _batch(facts: Facts) -> Iterator[str]:
    found = facts.get("batch_dependence")
    if not found:
        yield "Not looked at."
    elif not found["rows"]:
        yield "The batch is fixed at one size, so a row has no other company."
    else:
        padding = "" if found["padded"] is None else f", by {found['padded']:.2g} with its padding"
        yield (
            f"Of {found['rows']} rows, {found['decisions']:.1%} are decided otherwise in other company; an answer moves by up to "
            f"{found['neighbours']:.2g} with its neighbours, by {found['largest']:.2g} with the size of its batch{padding}."
        )


def _processors(facts: Facts, record: Facts) -> Iterator[str]:
    limits = record["allowed"]
    yield (
        f"`check.py` lets numbers be off by {limits['numbers']:.2g} of the largest and {limits['decisions']:.1%} of decisions fall "
        "otherwise: run it where the model is to be served."
    )
    for risk in facts.get("checks", {}).get("other_processors", ()):
        moved = "" if risk["largest"] is None or risk["outcome"] != "differs" else f", by up to {risk['largest']:.2g}"
        answers = {"same": "the same up to rounding", "differs": f"others{moved}", "unknown": "not known"}
        remedy = f"; {risk['remedy']}" if risk["remedy"] else ""
        yield f"On {risk['target']} the answers are {answers[risk['outcome']]}: {risk['why']}{remedy}."


def _checks(facts: Facts) -> Iterator[str]:
    looks = facts.get("checks", {})
    attribution, robustness = looks.get("attribution"), looks.get("robustness")
    if attribution:
        found = "looks" if attribution["passed"] else "does not look"
        yield (
            f"It {found} at what the parent looks at: nDCG {attribution['ndcg']:.3f} of {attribution['features']} features, "
            f"{attribution['sign']:.1%} of effects in the same direction."
        )
    for each in (robustness or {}).get("breakages", ()):
        told = {
            "breaks": "breaks where the parent held",
            "holds": "holds where the parent holds",
            "inconclusive": "is not known to hold",
        }
        yield f"Under {each['name']} it {told[each['outcome']]} (further from the parent by {_figure(each['apart'])})."
    if not attribution and not robustness:
        yield "Not looked at."


def _unknown(facts: Facts) -> Iterator[str]:
    """What nobody looked at, or nobody can know from here."""
    yield "The licence, and on what data the model was trained."
    yield "How it does on rows that are not like those it was judged on."
    looks = facts.get("checks", {})
    missing = {
        "In which parts of the data it is worse: no slice was named.": facts.get("slices"),
        "How well its probabilities come true.": facts.get("calibration"),
        "How much memory a process that serves it takes.": facts.get("memory_bytes"),
        "What it answers on other processors.": looks.get("other_processors"),
        "Whether it looks at what the parent looks at.": looks.get("attribution"),
        "Whether noise, missing values or attacks break it.": looks.get("robustness"),
    }
    yield from (sentence for sentence, known in missing.items() if not known)


def _interval(facts: Facts, name: str) -> str:
    return f"{_figure(facts[f'{name}_low'])} to {_figure(facts[f'{name}_high'])}"


def _figure(value: float | None) -> str:
    return "an unknown amount" if value is None else format_figure(value)
