"""Which columns play which part, where labels and features lie if elsewhere, and what is forgiven: what a user says of a recording."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

GIVEN = ("id", "time", "known", "until", "first", "label", "happened", "label_time")
"""Columns that canonical rows, or the recording made of them, have under these names, whatever the user's are called."""

KEPT = ("entity", "action", "arm", "label_version", "model_version")
"""Parts that are handed on as they are, under these names."""

NUMBERS = ("amount", "propensity", "weight")
"""Parts that are handed on as numbers, under these names."""


@dataclass(frozen=True)
class Wanted:
    """Which columns are to be read, each once, and what those of a CSV are to be taken for, whatever its first rows look like."""

    columns: tuple[str, ...]
    texts: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Roles:
    """`[backtest.columns]`: the column that plays each part; empty where none does.

    Args:
        time: when the prediction was asked. A format that knows its own (SageMaker, say) needs none named.
        predictions: of each model, its column, or a column a class.
        id: the request; the number of the row where empty.
        label: what turned out true; null where it never did.
        label_time: when that could first be known; null: never. The time of the request where empty.
        label_event_time: when it happened, which may be before anyone knew.
        label_version: of the label, handed on.
        entity: whom the request was about, handed on.
        features: columns that are handed on under their own names.
        propensity: the probability with which the logged action was taken.
        action: what was done, handed on.
        arm: of an A/B test, handed on.
        model_version: which version answered, handed on.
        amount: what a row's loss is multiplied by.
        weight: how many requests a row stands for, where only a sample was recorded; handed on.
    """

    time: str = ""
    predictions: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    id: str = ""
    label: str = ""
    label_time: str = ""
    label_event_time: str = ""
    label_version: str = ""
    entity: str = ""
    features: tuple[str, ...] = ()
    propensity: str = ""
    action: str = ""
    arm: str = ""
    model_version: str = ""
    amount: str = ""
    weight: str = ""

    def __post_init__(self) -> None:
        if self.label_time and not self.label:
            raise ConfigError(
                "says when labels came, but no column is named as label", field="columns.label_time",
                value=self.label_time, fix="name the label too, or leave label_time out",
            )  # fmt: skip
        named = [*GIVEN, *KEPT, *NUMBERS, *self.models, *self.features]
        twice = [name for name, times in Counter(named).items() if times > 1]
        if twice:
            raise ConfigError(
                "is the name of two things, or one that windtunnel uses itself", field="columns", value=twice[0],
                fix="call the model otherwise, or rename the feature",
            )  # fmt: skip

    @property
    def models(self) -> dict[str, str]:
        """The canonical column of each logged number, and the user's: one a model, or `model[0]`, `model[1]`, … of its classes.

        Example:
            >>> Roles("t", {"old": "p", "new": ("p0", "p1")}).models
            {'old': 'p', 'new[0]': 'p0', 'new[1]': 'p1'}
        """
        found: dict[str, str] = {}
        for model, columns in self.predictions.items():
            if isinstance(columns, str):
                found[model] = columns
            else:
                found |= {f"{model}[{place}]": column for place, column in enumerate(columns)}
        return found

    @property
    def wanted(self) -> Wanted:
        """What is to be read of the recording's own table."""
        texts = (self.id, self.time, self.label_time, self.label_event_time, self.entity, self.arm, self.action)
        numbers = (*self.models.values(), *(getattr(self, part) for part in NUMBERS), self.label)
        versions = (self.label_version, self.model_version)
        columns = dict.fromkeys(each for each in (*texts, *versions, *numbers, *self.features) if each)
        return Wanted(tuple(columns), (*texts, *versions), numbers)

    def filled(self, given: Mapping[str, str]) -> Roles:
        """The same roles, those that the user left out as a format has them."""
        left_out: dict[str, Any] = {part: column for part, column in given.items() if not getattr(self, part)}
        return replace(self, **left_out)


@dataclass(frozen=True)
class LabelSource:
    """`[backtest.labels]`: labels in a table of their own; several rows of one id are one label and its corrections.

    They are ordered by known time; of those known at one moment the later row in the file wins.

    Args:
        source: file, folder, glob or URI.
        id: the request that a row is about.
        label: what turned out true.
        known_time: when that could first be known.
        event_time: when it happened; empty where the table does not say.
        version: handed on as `label_version`.
    """

    source: str
    id: str = ""
    label: str = ""
    known_time: str = ""
    event_time: str = ""
    version: str = ""

    def roles_in(self, given: Mapping[str, str]) -> Roles:
        """The same as parts of a table, those left out as its format has them."""
        parts = {
            "id": self.id, "label": self.label, "label_time": self.known_time, "label_event_time": self.event_time,
            "label_version": self.version,
        }  # fmt: skip
        filled: dict[str, Any] = {part: column or given.get(part, "") for part, column in parts.items()}
        return Roles(**filled)


@dataclass(frozen=True)
class FeatureSource:
    """`[[backtest.features]]`: features in a table of their own, joined as they were known when each request was asked.

    A file of Feast's offline store needs no times named: `created_timestamp` (or `created`) says when a row became known and
    `event_timestamp` when it happened.

    Args:
        source: file, folder, glob or URI; held in memory.
        take: the features.
        by: columns that both tables share; none: of the whole world.
        known_time: when a row could first be known, strictly before the question that uses it.
        event_time: when it happened, if the table says; the newest by this counts.
        max_age_s: how old a row may be; infinite: any age.
    """

    source: str
    take: tuple[str, ...]
    by: tuple[str, ...] = ()
    known_time: str = ""
    event_time: str = ""
    max_age_s: float = float("inf")

    def __post_init__(self) -> None:
        if not self.take:
            raise ConfigError("takes nothing", field="features.take", value=self.source, fix="name the columns to add")
        if not self.max_age_s > 0.0:
            raise ConfigError("must be above zero", field="features.max_age", value=self.max_age_s, fix="write 1h, 7d")


@dataclass(frozen=True)
class Rules:
    """What is forgiven, and how much of it.

    Args:
        skew_s: a label known at most so long before its request or its event is moved to it, for clocks differ; one known
            earlier than that is refused.
        most_missing: a larger share of requests without a prediction of some model, or of rows that cannot be read, is refused.
    """

    skew_s: float = 1.0
    most_missing: float = 0.01

    def __post_init__(self) -> None:
        if not 0.0 <= self.skew_s < float("inf"):
            raise ConfigError("must be zero or more", field="skew", value=self.skew_s, fix="write 0, 500ms, 5s")
        if not 0.0 <= self.most_missing <= 1.0:
            raise ConfigError(
                "is outside 0 to 1", field="most_missing", value=self.most_missing, fix="write 0.01 or 1%"
            )
