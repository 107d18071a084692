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


@dataclass(frozen=True)
class Checks:
    """What a proven child is asked beside its metric.

    Args:
        feeds: real rows.
        seed: of the rows that are drawn, and how they are disturbed.
        look_s: how long a look may take, about.
        attack: whether attacks are tried too (needs the extra `robustness`).
        module: makes the torch module behind the parent, for attacks that follow gradients; None where there is none.
    """

    feeds: Arrays
    seed: int
    look_s: float = 10.0
    attack: bool = False
    module: Callable[[], torch.nn.Module] | None = None

    def look(self, each: Judged, parent: Variant) -> Judged:
        """Look closer at a child.

        One that is shown to break where its parent held, under what is to be expected, is no longer good. One that ranks its
        features otherwise, or answers otherwise on other processors, is shipped with a warning.
        """
        before, after = open_session(parent), open_session(each.variant)
        found: dict[str, Any] = {}
        for name, look in self._looks(each, before, after).items():
            try:
                found[name] = look()
            except Exception as error:  # noqa: BLE001  # a look that fails is told, and loses no search
                each = replace(each, notes=(*each.notes, f"{name} could not be looked at: {reason_of(error)}"))
        return _judged(each, found)

    def _looks(self, each: Judged, before: Session, after: Session) -> dict[str, Callable[[], Any]]:
        row_s = min(each.speed.p50_s.values()) * max(1.0, each.speedup.value)
        rows = max(16, min(256, int(self.look_s / (RUNS_A_ROW * row_s))))
        asked = max(128, min(4096, int(self.look_s / (2 * row_s))))
        looks: dict[str, Callable[[], Any]] = {
            "other_processors": lambda: cross_isa(each.variant, self.feeds),
            "attribution": lambda: attribution_parity(before, after, self.feeds, seed=self.seed, asked=asked),
            "robustness": lambda: robustness_parity(before, after, self.feeds, seed=self.seed, rows=rows),
        }
        if self.attack:
            looks["attacks"] = lambda: attack_parity(
                before, after, self.feeds, seed=self.seed, module=self.module() if self.module is not None else None
            )
        return looks


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
