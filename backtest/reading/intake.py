"""An Intake: what reading a recording took, what was wrong with it, and by which rule each was handled."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.report.section import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.feature_table import Freshness

NEVER_US = int(np.iinfo(np.int64).max)
"""The known time of a label that never came."""


@dataclass(frozen=True)
class Intake:
    """The counts of one reading, in rows unless it says otherwise.

    Args:
        format: what the recording was read as.
        files: how many it is in.
        rows: what was read.
        requests: what of it is handed on, each request once.
        labelled: requests with a label that ever came.
        corrections: later versions of labels.
        skipped: what could not be read or is no request, by reason.
        duplicates: of requests that stood there before; the first stays.
        strays: labels without a request; left out.
        tied: versions of a label that were known at one moment with a later row of the file, which wins.
        moved: labels known before their request or their event, by less than the tolerance; moved to it.
        unsorted: requests that stand after one that was asked later; kept, for the engine takes any order.
        missing: requests without a number as prediction, by model; such a request is left out for all models.
        left_out: requests left out for that.
        constant: models that say the same of every request, and what.
        propensities_of_zero: requests whose action could not have been taken, it says; their propensity is made null.
        zones: the zones of each column of times; "" is none, which counts as UTC.
        least_label: of all versions; NaN where there is none.
        greatest_label: as the least.
        freshness: what each feature table had, by source.
        said: what else was decided.
    """

    format: str
    files: int
    rows: int
    requests: int
    labelled: int
    corrections: int
    skipped: Mapping[str, int]
    duplicates: int
    strays: int
    tied: int
    moved: int
    unsorted: int
    missing: Mapping[str, int]
    left_out: int
    constant: Mapping[str, float]
    propensities_of_zero: int
    zones: Mapping[str, tuple[str, ...]]
    least_label: float
    greatest_label: float
    freshness: Mapping[str, Freshness]
    said: tuple[str, ...]

    @property
    def one_class(self) -> bool:
        """Whether all labels are the same."""
        return self.labelled > 0 and self.least_label == self.greatest_label

    @property
    def mixed_zones(self) -> bool:
        """Whether some times say their zone and others do not."""
        found = {bool(zone) for zones in self.zones.values() for zone in zones}
        return len(found) > 1

    def notes(self) -> tuple[str, ...]:
        """What a reader of the report must know, a sentence each."""
        told = [*self.said, *self.doubts()]
        if self.propensities_of_zero:
            told.append(
                f"{self.propensities_of_zero:,} requests have a propensity of zero: what was done could not have been done. "
                "Off-policy estimates leave them out."
            )
        return tuple(told)

    def _zones(self) -> str:
        """Which columns of times say their zone, where some do and some do not."""
        kinds: dict[str, list[str]] = {"both": [], "bare": [], "zoned": []}
        for column, zones in self.zones.items():
            kind = "both" if "" in zones and len(zones) > 1 else "zoned" if "" not in zones else "bare"
            kinds[kind].append(f"`{column}`")
        words = {
            "both": "times with a zone and times without one",
            "bare": "times without a zone",
            "zoned": "times with one",
        }
        told = "; ".join(f"{', '.join(names)}: {words[kind]}" for kind, names in kinds.items() if names)
        return f"Zones are mixed ({told}). What has none was read as UTC; if it was another clock, those moments lie hours off."

    def doubts(self) -> tuple[str, ...]:
        """Those of the notes that make any comparison on such a recording worth less, a sentence each."""
        told = []
        if self.one_class:
            told.append(
                f"All labels are {self.least_label:g}: what tells classes apart (ROC AUC, calibration) cannot be said, and a model "
                "that always says so wins."
            )
        if self.labelled == 0:
            told.append("No label ever came: nothing can be judged, only estimated.")
        if self.mixed_zones:
            told.append(self._zones())
        if self.left_out:
            worst = max(self.missing, key=lambda model: self.missing[model])
            told.append(
                f"{self.left_out:,} requests lack a prediction (most of `{worst}`: {self.missing[worst]:,}) and were left out for all "
                "models: if one fails on the hard requests, this favours it."
            )
        told += [
            f"`{model}` says {said:g} of every request: it tells none from another."
            for model, said in self.constant.items()
        ]
        return tuple(told)

    def table(self) -> Table:
        """What was found, and the rule by which it was handled; what never occurred is left out."""
        rows = [
            ("read", self.rows, f"as {self.format}, from {self.files:,} file{'s' * (self.files != 1)}"),
            ("requests", self.requests, "each counted once"),
            ("requests with a label", self.labelled, "that ever came"),
            ("corrections of labels", self.corrections, "count from their own known time on"),
            *((reason, count, "left out") for reason, count in sorted(self.skipped.items())),
            ("duplicates of an id", self.duplicates, "the first in the recording stays"),
            ("labels without a request", self.strays, "left out"),
            ("labels known at one moment", self.tied, "the later row in the file wins"),
            ("labels known too early", self.moved, "within the tolerance: moved to the request or the event"),
            ("requests out of order", self.unsorted, "kept"),
            *((f"without a prediction of {model}", count, "left out for all models") for model, count in self.missing.items()),
            ("propensities of zero", self.propensities_of_zero, "made null"),
            *_fresh_rows(self.freshness),
        ]  # fmt: skip
        shown = tuple(
            (what, f"{count:,}", rule) for what, count, rule in rows if count or what == "requests with a label"
        )
        return Table("What was read, and by which rule", ("rows", "count", "rule"), shown)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in {"freshness", "zones"}}
        return found | {
            "skipped": dict(self.skipped), "missing": dict(self.missing), "constant": dict(self.constant), "said": list(self.said), "notes": list(self.notes()),
            "zones": {column: list(zones) for column, zones in self.zones.items()},
            "least_label": self.least_label if self.labelled else None,
            "greatest_label": self.greatest_label if self.labelled else None,
            "freshness": {
                source: {"asked": each.asked, "missing": each.missing, "stale": each.stale, "late": each.late}
                for source, each in self.freshness.items()
            },
        }  # fmt: skip


def _fresh_rows(freshness: Mapping[str, Freshness]) -> list[tuple[str, int, str]]:
    rows = []
    for source, each in freshness.items():
        rows += [
            (f"nothing known in {source}", each.missing, "features null"),
            (f"too old in {source}", each.stale, "features null"),
            (f"newer in {source} but not known yet", each.late, "the one known before the question is used"),
        ]
    return rows


@dataclass
class Tally:
    """What one reading counts on its way; thrown away after it."""

    format: str = ""
    files: int = 0
    rows: int = 0
    requests: int = 0
    labelled: int = 0
    corrections: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    duplicates: int = 0
    strays: int = 0
    tied: int = 0
    moved: int = 0
    unsorted: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    spreads: dict[str, tuple[float, float]] = field(default_factory=dict)
    propensities_of_zero: int = 0
    zones: dict[str, set[str]] = field(default_factory=dict)
    least_label: float = float("inf")
    greatest_label: float = float("-inf")
    freshness: dict[str, Freshness] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    bad: int = 0

    def skip(self, reason: str, rows: int = 1, *, example: object = "", bad: bool = False) -> None:
        """Count what is left out, and keep the first of it for a refusal; `bad` rows speak against the file."""
        if rows:
            self.bad += rows * bad
            self.skipped[reason] += rows
            self.examples.setdefault(reason, str(example)[:80])

    def zone(self, column: str, zone: str) -> None:
        """Take note of the zone of some times."""
        self.zones.setdefault(column, set()).add(zone)

    def spread(self, model: str, least: float, greatest: float) -> None:
        """Take note of the least and the greatest that a model said."""
        before = self.spreads.get(model, (least, greatest))
        self.spreads[model] = min(before[0], least), max(before[1], greatest)

    def say(self, sentence: str) -> None:
        """Say once what was decided."""
        if sentence not in self.said:
            self.said.append(sentence)

    def intake(self) -> Intake:
        """The counts, now that they are final."""
        known = self.labelled > 0
        # one request alone says nothing about whether a model ever says anything else
        spreads = self.spreads if self.requests > 1 else {}
        constant = {model: least for model, (least, greatest) in spreads.items() if least == greatest}
        return Intake(
            self.format, self.files, self.rows, self.requests, self.labelled, self.corrections, dict(self.skipped), self.duplicates,
            self.strays, self.tied, self.moved, self.unsorted, dict(self.missing), self.left_out, constant, self.propensities_of_zero,
            {column: tuple(sorted(zones)) for column, zones in self.zones.items()},
            self.least_label if known else float("nan"), self.greatest_label if known else float("nan"), dict(self.freshness),
            tuple(self.said),
        )  # fmt: skip
