"""`windtunnel benchmark`: how long models take, compared and priced."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from windtunnel.digest import digest_file
from windtunnel.errors import ConfigError, ModelError, naming
from windtunnel.hardware import Hardware
from windtunnel.progress import SILENT, Progress
from windtunnel.report.section import Section, Table
from windtunnel.seeds import Seeds

from .alone import Done, run_alone
from .inputs import generate_feeds, read_feeds

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.benchmarks import Benchmark
    from windtunnel.stats import Interval
    from windtunnel.variant import Variant
    from windtunnel.verdict import Verdict

    Arrays = dict[str, NDArray[Any]]


def benchmark(
    models: list[Path],
    *,
    batch: tuple[int, ...] = (1, 8, 64),
    precision: float = 0.05,
    budget_s: float = 60.0,
    threads: int = 1,
    data: Path | None = None,
    hardware: tuple[str, ...] = (),
    slo: str = "",
    out: Path | None = None,
    seed: int = 1,
    progress: Progress = SILENT,
) -> Done:
    """Measure how long models take, compare them where there are several, and price them where machines are named.

    Args:
        models: ONNX files; variants are named after them.
        batch: rows a call.
        precision: of every median, ± this share.
        budget_s: seconds of timing.
        threads: intra-op threads.
        data: real inputs; made up from the signature where None, and said so.
        hardware: instance types to price; needs `slo`.
        slo: the promise at which throughput is counted.
        out: the run folder.
        seed: of the order of the blocks and of made-up inputs.
        progress: shown while measuring.
    """
    from windtunnel.table import check_file
    from windtunnel.variant import Variant

    if bool(hardware) != bool(slo):
        raise ConfigError(
            "belong together",
            field="--hardware and --slo",
            fix="cost is price ÷ the throughput at which an SLO is kept",
        )
    names = [path.stem for path in models]
    if len(set(names)) != len(names):
        raise ConfigError(
            "have the same name", field="models", value=names, fix="rename one: variants are named after their files"
        )
    variants = [Variant.from_file(path) for path in models]
    for variant in variants[1:]:
        if variant.signature.inputs != variants[0].signature.inputs:
            raise ModelError(
                "takes other inputs than the first model", file=variant.path, fix="compare models of one signature"
            )
    _check_promise(hardware, slo)
    if not precision > 0.0:
        raise ConfigError("can never be reached", field="--precision", value=precision, fix="write 5%")
    if data is not None:
        check_file(data)
        read_feeds(data, variants[0].signature)
    inputs = {variant.name: variant.sha256 for variant in variants} | ({"data": digest_file(data)} if data else {})
    parameters = {
        "batch": batch, "precision": precision, "budget_s": budget_s, "threads": threads, "hardware": hardware, "slo": slo,
        "measured_on": Hardware.detect().fingerprint,
    }  # fmt: skip
    make = partial(
        _benchmark, variants=variants, batch=batch, precision=precision, budget_s=budget_s, threads=threads, data=data,
        hardware=hardware, slo_text=slo, seeds=Seeds(seed), progress=progress,
    )  # fmt: skip
    return run_alone("benchmark", out, parameters, inputs, make, seed=seed, progress=progress)


def _check_promise(hardware: tuple[str, ...], slo: str) -> None:
    """Refuse machines without a price and a promise that cannot be read."""
    from windtunnel.deployment import Slo
    from windtunnel.price import find_price

    with naming(field="--hardware"):
        for name in hardware:
            find_price(name)
    if slo:
        with naming(field="--slo"):
            Slo.parse(slo)


def _benchmark(
    work: Path,
    *,
    variants: list[Variant],
    batch: tuple[int, ...],
    precision: float,
    budget_s: float,
    threads: int,
    data: Path | None,
    hardware: tuple[str, ...],
    slo_text: str,
    seeds: Seeds,
    progress: Progress,
) -> tuple[dict[str, Any], Section, Verdict]:
    from windtunnel.benchmarks import Effort, cost_table, draw
    from windtunnel.benchmarks import benchmark as measure_all
    from windtunnel.deployment import Slo
    from windtunnel.price import find_price
    from windtunnel.simulate import capacity

    signature = variants[0].signature
    prices = [find_price(name) for name in hardware]
    slo = Slo.parse(slo_text) if slo_text else None
    feeds = read_feeds(data, signature)[0] if data is not None else generate_feeds(signature, max(batch), seeds)
    measured = measure_all(
        variants, feeds, batch, threads=threads, effort=Effort(precision, budget_s), seeds=seeds, generated=data is None,
        progress=progress,
    )  # fmt: skip
    if slo is not None:
        carry = partial(capacity, max_batch=max(batch), max_wait_s=0.0, seeds=seeds)
        measured = replace(measured, costs=cost_table(measured.profiles, prices, slo, carry))
    for profile in measured.profiles:
        profile.save(work / f"{profile.variant}.npz")
    compared = _compare(measured, [variant.name for variant in variants], batch)
    section = draw(measured, slo)
    if compared:
        section = replace(section, tables=(section.tables[0], _comparison_table(compared), *section.tables[1:]))
    comparisons = [{"a": a, "b": b, "batch": size, **ratio.to_dict("ratio")} for a, b, size, ratio in compared]
    return {**measured.to_dict(), "comparisons": comparisons}, section, measured.verdict


def _compare(measured: Benchmark, names: list[str], batch: tuple[int, ...]) -> list[tuple[str, str, int, Interval]]:
    """Every other model beside the first, at each batch size: how many times as fast it is."""
    first = names[0]
    return [(first, name, size, measured.timings.speedup(first, name, size)) for name in names[1:] for size in batch]


def _comparison_table(compared: list[tuple[str, str, int, Interval]]) -> Table:
    rows = tuple(
        (b, a, str(size), f"{ratio.value:.3g} ({ratio.low:.3g} to {ratio.high:.3g})", _told(ratio))
        for a, b, size, ratio in compared
    )
    return Table("Side by side, in turns", ("model", "beside", "batch", "× as fast (95%)", "which is"), rows)


def _told(ratio: Interval) -> str:
    return "faster" if ratio.low > 1.0 else "slower" if ratio.high < 1.0 else "not told apart"
