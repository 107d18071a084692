"""`windtunnel optimize`: the fastest variant that is proven, from a model and rows."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.digest import digest_file
from windtunnel.errors import ConfigError, DataError, naming, nearest
from windtunnel.progress import SILENT, Progress
from windtunnel.seeds import Seeds
from windtunnel.source import digest_sources, is_function, load_function

from .alone import Done, run_alone
from .inputs import open_model, read_feeds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.report.section import Section
    from windtunnel.variant import Signature
    from windtunnel.verdict import Verdict

    Arrays = dict[str, NDArray[Any]]


EVERY_THIRD = 3
"""Every so many-th row is for steps to learn from; quality is proven on the others."""


def optimize(
    model: str,
    data: Path,
    *,
    metric: str = "agreement",
    max_drop: float = 0.01,
    label: str = "",
    batch: tuple[int, ...] = (1,),
    budget_s: float = 20.0,
    bundle: Path | None = None,
    out: Path | None = None,
    seed: int = 1,
    progress: Progress = SILENT,
) -> Done:
    """Make int8 variants of a model and choose the fastest that is proven not to be worse.

    Every third row of the data is for calibration; quality is proven on the others. Batching is on where a batch size
    above 1 is asked for.

    Args:
        model: an ONNX file, or `module.py:factory`.
        data: an npz file or a table.
        metric: the measure of quality; `agreement` needs no labels.
        max_drop: how much worse a variant may be.
        label: the label's column.
        batch: batch sizes at which speed is compared.
        budget_s: seconds of timing.
        bundle: where a bundle of the chosen variant goes.
        out: the run folder.
        seed: of calibration and timing order.
        progress: a line a step.
    """
    from windtunnel.bundle import check_folder
    from windtunnel.table import check_file

    home = Path()
    check_file(data)
    _check_quality(_look_at(model, home), data, metric, label)
    if bundle is not None:
        check_folder(bundle)
    inputs = {"data": digest_file(data), **digest_sources([model], home)}
    parameters = {
        "metric": metric,
        "max_drop": max_drop,
        "label": label,
        "batch": batch,
        "budget_s": budget_s,
        "model": model,
    }
    make = partial(
        _optimize, model=model, data=data, metric=metric, max_drop=max_drop, label=label, batch=batch, budget_s=budget_s,
        seeds=Seeds(seed), home=home, progress=progress,
    )  # fmt: skip
    done = run_alone("optimize", out, parameters, inputs, make, seed=seed, progress=progress)
    if bundle is not None:
        _bundle(done, data, label, bundle)
    return done


def _look_at(model: str, home: Path) -> Signature | None:
    """The signature of a file; of a function only that it can be loaded, for what it makes is known once it has run."""
    from windtunnel.variant import Variant

    if is_function(model):
        load_function(model, home)
        return None
    return Variant.from_file(home / model).signature


def _check_quality(signature: Signature | None, data: Path, metric: str, label: str) -> None:
    """Refuse a metric that is not known and, where the signature is, rows that cannot carry it."""
    from windtunnel.optimize import METRICS, Holdout
    from windtunnel.optimize.quality import check_metric

    if metric not in METRICS:
        raise ConfigError("is not a metric", field="--metric", value=metric, fix=nearest(metric, METRICS))
    if signature is None:
        return
    feeds, labels = read_feeds(data, signature, label)
    rows = len(next(iter(feeds.values())))
    if rows < EVERY_THIRD:
        raise DataError(
            f"has {rows} rows", file=data, fix="give more: a third is for calibration, quality is proven on the others"
        )
    with naming(file=data):
        check_metric(metric, Holdout(feeds, labels))


def _optimize(
    work: Path,
    *,
    model: str,
    data: Path,
    metric: str,
    max_drop: float,
    label: str,
    batch: tuple[int, ...],
    budget_s: float,
    seeds: Seeds,
    home: Path,
    progress: Progress,
) -> tuple[dict[str, Any], Section, Verdict]:
    import numpy as np

    from windtunnel.benchmarks import Effort, measure
    from windtunnel.optimize import Goal, Holdout, Material, draw
    from windtunnel.optimize import optimize as search

    parent = open_model(model, work, home)
    feeds, labels = read_feeds(data, parent.signature, label)
    learning = np.arange(len(next(iter(feeds.values())))) % EVERY_THIRD == 0
    material = Material({name: array[learning] for name, array in feeds.items()})
    holdout = Holdout(
        {name: array[~learning] for name, array in feeds.items()}, labels[~learning] if labels is not None else None
    )
    timed = partial(measure, effort=Effort(0.02, budget_s), rng=seeds.stream("order"), progress=progress)
    goal = Goal(metric, max_drop, batch, max(batch) > 1)
    found = search(parent, material, holdout, goal, measure=timed, folder=work, seeds=seeds, progress=progress)
    return found.to_dict(work), draw(found), found.verdict


def _bundle(done: Done, data: Path, label: str, folder: Path) -> None:
    from windtunnel.bundle import write_bundle
    from windtunnel.session import OnnxSession
    from windtunnel.variant import Variant

    chosen = Variant.from_dict(done.stage.result["chosen"], done.stage.folder)
    feeds, _ = read_feeds(data, chosen.signature, label)
    sample = {name: array[:8] for name, array in feeds.items()}
    write_bundle(chosen, sample, OnnxSession(chosen.path, chosen.signature).run(sample), folder)
