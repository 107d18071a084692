"""Is the child easier to fool than the parent? Attacks by the Adversarial Robustness Toolbox (extra `robustness`).

Attacked are the inputs of floats, each cell in standard deviations of its column; all other inputs of a row stay. A model that
decides nothing cannot be fooled this way.

- *Black box*, on each model by itself: HopSkipJump (Chen, Jordan & Wainwright, S&P 2020) walks from another real row that is
  decided otherwise towards this one, and ends close to where the decision changes. The nearer that is, the more fragile.
- *Gradient*, on the parent's source module: FGSM (Goodfellow et al., 2015) and PGD (Madry et al., 2018) find rows that fool the
  source; parent and child are asked about the same rows.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import MissingError

from .robustness import (
    TOLERANCE,
    Breakage,
    Robustness,
    ask,
    compare_answers,
    draw_rows,
    paired_interval,
)
from .yardstick import Yardstick

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch
    from numpy.typing import NDArray

    from windtunnel.session import Session

    Feeds = Mapping[str, NDArray[Any]]
    Answers = Mapping[str, NDArray[Any]]
    Floats = NDArray[np.float64]

INSTALL = "pip install 'windtunnel[robustness]'"
WALK = {"max_iter": 4, "init_eval": 20, "max_eval": 50, "batch_size": 64, "verbose": False}
"""How long HopSkipJump walks: about 250 questions a row and model."""

STARTS = 64
"""Among so many rows a walk looks for its start."""

REACH = 0.1
"""How far the gradient attacks may move each cell, in standard deviations."""


def attack_parity(
    parent: Session,
    child: Session,
    feeds: Feeds,
    *,
    seed: int,
    module: torch.nn.Module | None = None,
    rows: int = 16,
    tolerance: float = TOLERANCE,
    confidence: float = 0.95,
) -> Robustness:
    """Attack parent and child, and compare.

    Args:
        parent: answers as it should be.
        child: is compared.
        feeds: real rows by input name.
        seed: which rows are attacked, and every draw of the attacks.
        module: the parent's source, which takes the inputs by name; without it there are no gradients.
        rows: how many are attacked by HopSkipJump; by gradients sixteen times as many, which cost far less.
        tolerance: how much worse the child may be, from 0 to 1.
        confidence: of all intervals together (Bonferroni).

    Raises:
        MissingError: the toolbox is not installed.
        ModelError: a batch cannot be run.
    """
    load_toolbox()
    some = _rows_of(feeds, draw_rows(parent, feeds, 16 * rows, np.random.default_rng(seed)))
    stick, cells = Yardstick.of(ask(parent, some)), _Cells.of(feeds)
    if stick.kind == "none" or cells is None:
        why = "the answers decide nothing" if stick.kind == "none" else "no input is of floats that vary"
        return Robustness((), (("HopSkipJump", why), ("FGSM and PGD", why)), stick.unit)
    each = 1.0 - (1.0 - confidence) / (2 if module is None else 6)
    walked = _walk_both(parent, child, some, rows, cells, stick, seed)
    breakages = [] if isinstance(walked, str) else [_fragility(*walked, tolerance, each)]
    skipped = [("HopSkipJump", walked)] if isinstance(walked, str) else []
    if module is None:
        skipped.append(("FGSM and PGD", "there is no source module to take gradients of"))
    elif stick.kind == "label":
        skipped.append(("FGSM and PGD", "labels have no gradients"))
    else:
        breakages += _by_gradient(module, parent, child, some, cells, stick, seed, tolerance, each)
    return Robustness(tuple(breakages), tuple(skipped), stick.unit)


def load_toolbox() -> Any:
    """Import the toolbox's attacks.

    Raises:
        MissingError: it is not installed.
    """
    try:
        from art.attacks import evasion
    except ModuleNotFoundError as error:
        raise MissingError(f"the Adversarial Robustness Toolbox is not installed; {INSTALL}") from error
    return evasion


@dataclass(frozen=True)
class _Cells:
    """All floats of a row laid side by side, each as its distance from the column's mean in standard deviations.

    Cells that never vary are left out of reach: there, a deviation of 0 moves nothing.
    """

    shapes: dict[str, tuple[int, ...]]
    mean: Floats
    deviation: Floats
    low: float
    high: float

    @staticmethod
    def of(feeds: Feeds) -> _Cells | None:
        shapes = {name: array.shape[1:] for name, array in feeds.items() if array.dtype.kind == "f"}
        if not shapes:
            return None
        wide = np.concatenate([feeds[name].reshape(len(feeds[name]), -1) for name in shapes], axis=1).astype(np.float64)
        wide = np.where(np.isfinite(wide), wide, 0.0)
        mean, deviation = wide.mean(axis=0), wide.std(axis=0)
        if not deviation.any():
            return None
        units = (wide - mean) / np.where(deviation > 0.0, deviation, 1.0)
        return _Cells(shapes, mean, deviation, float(units.min()), float(units.max()))

    def of_rows(self, rows: Feeds) -> NDArray[np.float32]:
        wide = np.concatenate([rows[name].reshape(len(rows[name]), -1) for name in self.shapes], axis=1).astype(
            np.float64
        )
        units = (np.where(np.isfinite(wide), wide, self.mean) - self.mean) / np.where(
            self.deviation > 0.0, self.deviation, 1.0
        )
        return np.asarray(units, np.float32)

    def into(self, units: NDArray[Any], rows: Feeds) -> dict[str, NDArray[Any]]:
        """The rows with these cells; what was missing stays missing."""
        wide, start, changed = units.astype(np.float64) * self.deviation + self.mean, 0, dict(rows)
        for name, shape in self.shapes.items():
            size = int(np.prod(shape))
            part = wide[:, start : start + size].reshape(len(units), *shape).astype(rows[name].dtype)
            changed[name] = np.where(np.isnan(rows[name]), rows[name], part)
            start += size
        return changed


def _rows_of(feeds: Feeds, index: Any) -> dict[str, NDArray[Any]]:
    return {name: np.ascontiguousarray(array[index]) for name, array in feeds.items()}


@dataclass(frozen=True)
class _Target:
    """A model and one row of it, whose floats are attacked."""

    session: Session
    row: Feeds
    cells: _Cells
    stick: Yardstick

    def decide(self, units: NDArray[Any]) -> NDArray[Any]:
        """What is decided for the row with other cells."""
        tiled = {name: np.repeat(array, len(units), axis=0) for name, array in self.row.items()}
        decisions = self.stick.decisions(ask(self.session, self.cells.into(units, tiled)))
        assert decisions is not None  # what decides nothing is not attacked
        return decisions

    def distance(self, start: NDArray[np.float32], seed: int) -> float:
        """From the row to where HopSkipJump finds another decision: root mean square, in standard deviations."""
        from art.estimators.classification import BlackBoxClassifier

        here = self.cells.of_rows(self.row)
        own = self.decide(here)

        def otherwise(units: NDArray[Any]) -> NDArray[np.float32]:
            moved = self.decide(units) != own
            return np.stack([~moved, moved], axis=1).astype(np.float32)

        model = BlackBoxClassifier(otherwise, here.shape[1:], 2, clip_values=(self.cells.low, self.cells.high))
        with _seeded(seed):
            there = load_toolbox().HopSkipJump(model, **WALK).generate(here, x_adv_init=start)
        return float(np.sqrt(np.mean((there - here) ** 2)))


def _walk_both(
    parent: Session, child: Session, rows: Feeds, count: int, cells: _Cells, stick: Yardstick, seed: int
) -> tuple[Floats, Floats] | str:
    """How far each of the first rows is from another decision, for the parent and for the child; or why nothing can be said.

    The walk starts from the floats of the nearest other row with which both decide otherwise.
    """
    if not {parent.signature.fixed_batch, child.signature.fixed_batch} <= {1, None}:
        return "the model takes a fixed number of rows at once"
    units = cells.of_rows(rows)
    distances = []
    for at in range(min(count, len(units))):
        targets = [_Target(each, _rows_of(rows, [at]), cells, stick) for each in (parent, child)]
        others = [each.decide(units[:STARTS]) != each.decide(units[at : at + 1]) for each in targets]
        starts = np.flatnonzero(
            np.all(others, axis=0)
        )  # without one the toolbox would draw its own, and not by our seed
        if len(starts):
            nearest = starts[np.argmin(np.sum((units[starts] - units[at]) ** 2, axis=1))]
            start = units[nearest : nearest + 1]
            distances.append([each.distance(start, seed) for each in targets])
    if len(distances) < 2:
        return "hardly any row has another that both models decide otherwise"
    found = np.array(distances)
    return found[:, 0], found[:, 1]


def _fragility(parent: Floats, child: Floats, tolerance: float, confidence: float) -> Breakage:
    """The distances as fragilities from 0 to 1, one half for a row as far off as the parent's usual one."""
    usual = float(np.median(parent)) or 1.0
    held, moved = usual / (usual + parent), usual / (usual + child)
    more = paired_interval(moved - held, confidence)
    name = f"HopSkipJump (fragility; one half at {usual:.2g} standard deviations)"
    return Breakage(name, float(held.mean()), float(moved.mean()), more, more, 0, 0, tolerance)


def _by_gradient(
    module: torch.nn.Module, parent: Session, child: Session, rows: Feeds, cells: _Cells, stick: Yardstick,
    seed: int, tolerance: float, confidence: float,
) -> list[Breakage]:  # fmt: skip
    """What rows that fool the source do to parent and child."""
    import torch
    from art.estimators.classification import PyTorchClassifier

    source, here = _source(module, rows, cells, stick), cells.of_rows(rows)

    with torch.no_grad():
        shape = source(torch.from_numpy(here)).shape
    model = PyTorchClassifier(source, torch.nn.CrossEntropyLoss(), here.shape[1:], int(shape[1]), device_type="cpu")
    evasion, whole = load_toolbox(), len(here)
    attacks = {
        "FGSM": evasion.FastGradientMethod(model, eps=REACH, batch_size=whole),
        "PGD": evasion.ProjectedGradientDescent(
            model, eps=REACH, eps_step=REACH / 4, max_iter=10, batch_size=whole, verbose=False
        ),
    }
    before = ask(parent, rows), ask(child, rows)
    found = []
    for name, attack in attacks.items():
        with _seeded(seed):
            fooled = cells.into(attack.generate(here), rows)
        after = ask(parent, fooled), ask(child, fooled)
        title = f"{name} on the source, {REACH:g} standard deviations"
        found.append(compare_answers(title, stick, before, after, tolerance, confidence))
    return found


def _source(module: torch.nn.Module, rows: Feeds, cells: _Cells, stick: Yardstick) -> torch.nn.Module:
    """The module that goes from the cells of these rows to the logits of each class; what is not attacked stays as it is."""
    import torch

    class Source(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module.eval()
            self.still = {name: torch.from_numpy(array) for name, array in rows.items() if name not in cells.shapes}
            self.floats = {name: torch.from_numpy(rows[name][:0]).dtype for name in cells.shapes}
            self.mean, self.deviation = (torch.from_numpy(each) for each in (cells.mean, cells.deviation))

        def forward(self, units: torch.Tensor) -> torch.Tensor:
            wide = units * self.deviation + self.mean
            parts = torch.split(wide, [int(np.prod(shape)) for shape in cells.shapes.values()], dim=1)
            floats = {
                name: part.reshape(len(units), *shape).to(self.floats[name])
                for (name, shape), part in zip(cells.shapes.items(), parts, strict=True)
            }
            return _logits(_first_tensor(self.inner(**floats, **self.still)), stick)

    return Source().eval()


def _first_tensor(answer: Any) -> torch.Tensor:
    if isinstance(answer, dict):
        answer = list(answer.values())
    first: torch.Tensor = answer[0] if isinstance(answer, list | tuple) else answer
    return first


def _logits(answer: torch.Tensor, stick: Yardstick) -> torch.Tensor:
    """Logits `[rows, classes]` of whatever decides: a probability becomes two, and shares their logarithms."""
    import torch

    wide = answer.reshape(len(answer), -1)
    if stick.kind == "half":
        share = wide[:, -1].clamp(1e-7, 1.0 - 1e-7)
        return torch.stack([(1.0 - share).log(), share.log()], dim=1)
    shares = bool((wide >= 0.0).all()) and torch.allclose(
        wide.sum(dim=1), torch.ones(len(wide), dtype=wide.dtype), atol=1e-3
    )
    return wide.clamp_min(1e-7).log() if shares else wide


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The toolbox draws from numpy's and torch's global streams: they are set for a while, and put back."""
    import torch

    ours, theirs = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002  # the toolbox's own stream
    np.random.seed(seed % 2**32)  # noqa: NPY002  # as above
    torch.manual_seed(seed)
    try:
        yield
    finally:
        np.random.set_state(ours)  # noqa: NPY002  # as above
        torch.set_rng_state(theirs)
