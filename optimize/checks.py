"""A closer look at a child that is good: other processors, what it looks at, and whether it breaks where its parent held."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from windtunnel.runtime import open_session

from .attack import attack_parity
from .attribution import attribution_parity
from .cross_isa import cross_isa
from .judged import reason_of
from .robustness import robustness_parity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    from numpy.typing import NDArray

    from windtunnel.session import Session
    from windtunnel.variant import Variant

    from .judged import Judged

    Arrays = Mapping[str, NDArray[Any]]

SHARE = 0.03
"""Of the budget that each look may take of parent and child together, about: slow models are asked fewer rows."""

RUNS_A_ROW = 16
"""So many times, about, a row is asked while robustness is looked at: before and after each disturbance, of both models."""

EMULATED, LEAST_EMULATED, MOST_EMULATED = 50, 4, 16
"""A row whose integers are emulated takes so many times as long, about; so many rows are emulated."""

LEAST_ROWS, LEAST_ASKED = 16, 128
"""So many rows are disturbed, and so many asked with features exchanged, at least."""


@dataclass(frozen=True)
class Checks:
    """What a proven child is asked beside its metric.

    Args:
        feeds: real rows.
        seed: of the rows that are drawn, and how they are disturbed.
        look_s: how long a look may take, about.
        attack: whether attacks are tried too (needs the extra `robustness`).
        module: makes the torch module behind the parent, for attacks that follow gradients; None where there is none.
        is_over: whether the budget is, so that no further look is begun.
    """

    feeds: Arrays
    seed: int
    look_s: float = 10.0
    attack: bool = False
    module: Callable[[], torch.nn.Module] | None = None
    is_over: Callable[[], bool] = lambda: False

    def look(self, each: Judged, parent: Variant) -> Judged:
        """Look closer at a child.

        One that is shown to break where its parent held, under what is to be expected, is no longer good. One that ranks its
        features otherwise, or answers otherwise on other processors, is shipped with a warning.
        """
        before, after = open_session(parent), open_session(each.variant)
        found: dict[str, Any] = {}
        for name, look in self._looks(each, before, after).items():
            if self.is_over():
                told = f"{name.replace('_', ' ')} not looked at: the budget was over"
                each = replace(each, warnings=(*each.warnings, told))
                continue
            try:
                found[name] = look()
            except Exception as error:  # noqa: BLE001  # a look that fails is told, and loses no search
                each = replace(each, notes=(*each.notes, f"{name} could not be looked at: {reason_of(error)}"))
        return _judged(each, found)

    def _looks(self, each: Judged, before: Session, after: Session) -> dict[str, Callable[[], Any]]:
        row_s = min(each.speed.p50_s.values()) * max(1.0, each.speedup.value)
        rows = max(LEAST_ROWS, min(256, int(self.look_s / (RUNS_A_ROW * row_s))))
        asked = max(LEAST_ASKED, min(4096, int(self.look_s / (2 * row_s))))
        emulated = max(LEAST_EMULATED, min(MOST_EMULATED, int(self.look_s / (EMULATED * row_s))))
        # what may keep a child out is looked at first: the last may come too late
        looks: dict[str, Callable[[], Any]] = {
            "robustness": lambda: robustness_parity(before, after, self.feeds, seed=self.seed, rows=rows),
            "attribution": lambda: attribution_parity(before, after, self.feeds, seed=self.seed, asked=asked),
            "other_processors": lambda: cross_isa(each.variant, self.feeds, emulated),
        }
        if self.attack:
            looks["attacks"] = lambda: attack_parity(
                before, after, self.feeds, seed=self.seed, module=self.module() if self.module is not None else None
            )
        return looks


def looks_s(row_s: float, look_s: float) -> float:
    """How long a child and its parent are looked at, about, attacks aside.

    Args:
        row_s: how long the parent takes for a row.
        look_s: how long each look may take, about.

    Example:
        >>> round(looks_s(0.0, 2.0), 3), round(looks_s(0.01, 2.0), 3)
        (4.0, 7.12)
    """
    few = (LEAST_ROWS * RUNS_A_ROW, 2 * LEAST_ASKED)
    emulated = min(MOST_EMULATED, max(LEAST_EMULATED, look_s / (EMULATED * row_s))) if row_s else 0
    return sum(max(look_s, count * row_s) for count in few) + EMULATED * row_s * emulated


def _judged(each: Judged, found: Mapping[str, Any]) -> Judged:
    warnings, notes = list(each.warnings), list(each.notes)
    told: dict[str, Any] = {}
    for risk in found.get("other_processors", ()):
        (warnings if risk.outcome == "differs" else notes).append(risk.describe())
        told.setdefault("other_processors", []).append(risk.to_dict())
    if "attribution" in found:
        parity = found["attribution"]
        (notes if parity.passed else warnings).append(parity.describe())
        told["attribution"] = parity.to_dict()
    for name in ("robustness", "attacks"):
        if name in found:
            (warnings if found[name].breaks else notes).append(found[name].describe())
            told[name] = found[name].to_dict()
    each = replace(each, checks=told, warnings=tuple(warnings), notes=tuple(notes))
    broken = [one for name in ("robustness", "attacks") if (one := found.get(name)) is not None and one.disqualifies]
    return replace(each, status="worse", reason=broken[0].describe()) if broken else each
