"""The looks are planted where the question is what becomes of a child; each look itself is tried in its own tests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.errors import DataError
from windtunnel.optimize import checks
from windtunnel.optimize.checks import Checks

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from numpy.typing import NDArray

    from windtunnel.optimize.judged import Judged
    from windtunnel.variant import Variant


@dataclass(frozen=True)
class _Found:
    """What a look found, in the words of every look's result."""

    words: str
    outcome: str = "same"
    passed: bool = True
    breaks: tuple[str, ...] = ()
    disqualifies: bool = False

    def describe(self) -> str:
        return self.words

    def to_dict(self) -> dict[str, Any]:
        return {"words": self.words}


CALM = {
    "cross_isa": (_Found("the same on arm64"),),
    "attribution_parity": _Found("looks at the same"),
    "robustness_parity": _Found("holds"),
    "attack_parity": _Found("withstands"),
}


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, dict[str, Any]]]:
    """Let each look find what is planted; what it was asked comes back."""

    def planted(**found: Any) -> dict[str, dict[str, Any]]:
        asked: dict[str, dict[str, Any]] = {}
        for name, result in {**CALM, **found}.items():

            def look(*_given: Any, name: str = name, result: Any = result, **settings: Any) -> Any:
                asked[name] = settings
                if isinstance(result, Exception):
                    raise result
                return result

            monkeypatch.setattr(checks, name, look)
        return asked

    return planted


@pytest.fixture
def look(judged_as: Callable[..., Judged], mlp: Variant, rows: dict[str, NDArray[Any]]) -> Callable[..., Judged]:
    """Look closer at a child that is as fast as is said."""

    def looked(speed: float = 2.0, **settings: Any) -> Judged:
        return Checks({"x": rows["x"]}, 1, **settings).look(judged_as("int8", speed=speed, warnings=("before",)), mlp)

    return looked


def test_a_calm_child_is_as_good_as_before(look: Callable[..., Judged], plant: Callable[..., Any]) -> None:
    """What was found is kept as figures and as notes; nothing is warned of, and the status stays."""
    plant()
    found = look()

    assert (found.status, found.reason, found.warnings) == ("on-frontier", "why", ("before",))
    assert found.notes == ("the same on arm64", "looks at the same", "holds")
    assert found.checks == {
        "other_processors": [{"words": "the same on arm64"}],
        "attribution": {"words": "looks at the same"},
        "robustness": {"words": "holds"},
    }


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("cross_isa", (_Found("differs on arm64", outcome="differs"),)),
        ("attribution_parity", _Found("looks elsewhere", passed=False)),
        ("robustness_parity", _Found("breaks far outside", breaks=("beyond",))),
    ],
)
def test_what_people_should_know_is_warned_of(
    look: Callable[..., Judged], plant: Callable[..., Any], name: str, result: Any
) -> None:
    """Other processors, another ranking of features, or a break where nobody goes: a warning, and no reason to refuse."""
    plant(**{name: result})
    found = look()
    words = result[0].words if isinstance(result, tuple) else result.words

    assert (found.status, found.warnings) == ("on-frontier", ("before", words))
    assert words not in found.notes


def test_not_known_on_other_processors_is_a_note(look: Callable[..., Judged], plant: Callable[..., Any]) -> None:
    """Of several kinds of processor only those where answers differ are warned of; all are told."""
    plant(cross_isa=(_Found("a", outcome="unknown"), _Found("b", outcome="differs"), _Found("c")))
    found = look()

    assert found.warnings == ("before", "b")
    assert found.notes[:2] == ("a", "c")
    assert len(found.checks["other_processors"]) == 3


@pytest.mark.parametrize(
    ("name", "settings"),
    [("robustness_parity", {}), ("attack_parity", {"attack": True})],
    ids=["robustness", "attacks"],
)
def test_a_child_that_breaks_is_worse(
    look: Callable[..., Judged], plant: Callable[..., Any], name: str, settings: dict[str, Any]
) -> None:
    """A child that is shown to break under what is to be expected is no longer good, and the reason is said."""
    plant(**{name: _Found("breaks under noise", breaks=("noise",), disqualifies=True)})
    found = look(**settings)

    assert (found.status, found.reason) == ("worse", "breaks under noise")


def test_a_look_that_cannot_be_taken(look: Callable[..., Judged], plant: Callable[..., Any]) -> None:
    """A look that a model or the rows do not allow is told with its reason, and the others are taken."""
    plant(attribution_parity=DataError("vary in nothing", field="inputs"))
    found = look()

    assert "attribution could not be looked at: vary in nothing" in found.notes
    assert set(found.checks) == {"other_processors", "robustness"}
    assert found.status == "on-frontier"


def test_attacks_only_where_they_are_asked_for(look: Callable[..., Judged], plant: Callable[..., Any]) -> None:
    """Attacks are tried by wish only, and follow the gradients of the parent's module where there is one."""
    made: list[int] = []

    def module() -> torch.nn.Module:
        import torch

        made.append(1)
        return torch.nn.Identity()

    asked = plant()
    assert "attacks" not in look(module=module).checks
    assert ("attack_parity" in asked, made) == (False, [])

    assert look(module=module, attack=True).checks["attacks"] == {"words": "withstands"}
    assert (len(made), asked["attack_parity"]["module"] is None) == (1, False)


def test_slow_models_are_asked_fewer_rows(
    judged_as: Callable[..., Judged], mlp: Variant, rows: dict[str, NDArray[Any]], plant: Callable[..., Any]
) -> None:
    """How many rows are asked follows from how long one takes, between bounds: looks take about as long for every model."""
    asked = plant()
    child = judged_as("int8", speed=1.0)
    found = []
    for p50_s in (1e-6, 5e-3, 10.0):
        speed = replace(child.speed, p50_s={"1": p50_s, "8": 8 * p50_s})
        Checks({"x": rows["x"]}, 1).look(replace(child, speed=speed), mlp)
        found.append((asked["robustness_parity"]["rows"], asked["attribution_parity"]["asked"]))

    assert found == [(256, 4096), (125, 1000), (16, 128)]

    Checks({"x": rows["x"]}, 1, look_s=1.0).look(replace(child, speed=replace(child.speed, p50_s={"1": 1e-3})), mlp)
    assert (asked["robustness_parity"]["rows"], asked["attribution_parity"]["asked"]) == (62, 500)


def test_a_real_look(mlp: Variant, judged_as: Callable[..., Judged], rows: dict[str, NDArray[Any]]) -> None:
    """With nothing planted a model beside itself is the same everywhere, looks at the same, and breaks nowhere."""
    child = judged_as("copy")
    found = Checks({"x": rows["x"]}, 1).look(replace(child, variant=mlp), mlp)

    assert (found.status, found.warnings) == ("on-frontier", ())
    assert set(found.checks) == {"other_processors", "attribution", "robustness"}
    assert (found.checks["attribution"]["passed"], found.checks["robustness"]["breaks"]) == (True, [])
    assert all(risk["outcome"] == "same" for risk in found.checks["other_processors"])
