"""What became of a variant: judged beside its parent, raced and left behind, failed, or never made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from windtunnel.errors import InputError
from windtunnel.session import first_line

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.stats import Interval
    from windtunnel.variant import Variant

    from .invariance import Dependence
    from .quality import Quality
    from .speed import Speed

Status = Literal["chosen", "on-frontier", "dominated", "not-proven", "worse", "slower", "batch-dependent", "failed"]

UNPROVEN = dict.fromkeys(("speedup_low", "speedup_high", "quality", "quality_drop", "quality_drop_high"))
"""What is not known of a variant that was not proven: every entry of the frontier has the same keys."""


OUT_OF_TIME = "the time for making was over"
"""Why a variant was not made, where more time would have made it."""

UNPROVEN_IN_TIME = "there was no time left to prove it"
"""Why a variant that may be good was not proven, where more time might have."""


@dataclass(frozen=True)
class Judged:
    """One variant with everything that was found about it.

    Args:
        variant: the file and how it is run.
        status: what became of it.
        reason: why, as a sentence.
        quality: beside the parent, on the rows held out.
        speed: beside the parent, interleaved.
        dependence: how much a row's answer changes with its neighbours.
        quantized: heavy operators that are integer, and heavy operators in all.
        checks: what else was looked at, by the name of the check, as JSON values.
        warnings: what they found that people should know before they ship it.
        notes: what else they found, a sentence each.
        memory_bytes: resident in a process that serves it, where that was asked for.
    """

    variant: Variant
    status: Status
    reason: str
    quality: Quality
    speed: Speed
    dependence: Dependence
    quantized: tuple[int, int]
    checks: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    memory_bytes: int | None = None

    @property
    def speedup(self) -> Interval:
        """Over the parent, over all cells together."""
        return self.speed.overall

    def to_dict(self, folder: Path) -> dict[str, Any]:
        """The judgement as JSON values."""
        return {
            **head(self.variant, folder), "status": self.status, "reason": self.reason,
            **self.quality.to_dict(), **self.speed.to_dict(),
            "batch_dependence": self.dependence.to_dict(), "quantized_operators": self.quantized[0],
            "heavy_operators": self.quantized[1], "rows": self.quality.drop.samples, "memory_bytes": self.memory_bytes,
            "checks": self.checks, "warnings": list(self.warnings), "notes": list(self.notes),
        }  # fmt: skip


@dataclass(frozen=True)
class Raced:
    """A variant that was made and raced, and left behind: its quality was not proven, for it would not have been chosen.

    Args:
        variant: the file and how it is run.
        status: `dominated`, `slower`, or `worse` where the learning rows showed it already.
        reason: why it was left.
        speedup: over the parent, from a short race: a figure without an interval.
        p50_s: the median service time in the race, by cell.
    """

    variant: Variant
    status: Status
    reason: str
    speedup: float
    p50_s: dict[str, float]

    def to_dict(self, folder: Path) -> dict[str, Any]:
        """The finding as JSON values; what only a proof tells is None."""
        return {
            **head(self.variant, folder), **UNPROVEN, "status": self.status, "reason": self.reason, "speedup": self.speedup,
            "p50_s": self.p50_s, "basis": "raced",
        }  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """A step that could not make its child, or a child that could not run."""

    name: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """The failure as JSON values; what only a variant has is None."""
        unmade = dict.fromkeys(("path", "runtime", "settings", "p50_s", "speedup", "bytes"))
        return {"name": self.name, **unmade, **UNPROVEN, "status": "failed", "reason": self.reason}


def reason_of(error: BaseException) -> str:
    """Why a step made nothing, in one line; the name of the file is left out, for the step's own name stands beside it.

    Example:
        >>> from windtunnel.errors import ModelError
        >>> reason_of(ModelError("has no attention", file="work/fp32.onnx", fix="leave it as it is"))
        'has no attention; leave it as it is'
    """
    if isinstance(error, InputError):
        return "; ".join(each for each in (error.problem, error.fix) if each)
    return first_line(error)


@dataclass(frozen=True)
class Skipped:
    """A variant that was not made, and why nothing was lost by it."""

    name: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """The decision as JSON values."""
        return {"name": self.name, "reason": self.reason}


def head(variant: Variant, folder: Path) -> dict[str, Any]:
    """What a variant is, as JSON values: the file, and how it is run."""
    told = variant.to_dict(folder)
    return {**told, "runtime": variant.execution.runtime, "settings": _settings(variant)}


def _settings(variant: Variant) -> dict[str, Any]:
    """What made it and how it is run, in one place."""
    made = {key: value for key, value in variant.origin.settings.items() if key != "versions"}
    run = variant.execution.to_dict()
    return {"step": variant.origin.step, **made, "threads": run["threads"], "options": run["options"]}
