"""Two earlier benchmarks, compared and not measured again."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.digest import digest_bytes, digest_value
from windtunnel.errors import ConfigError, DataError
from windtunnel.verdict import Verdict

from .alone import Done, run_alone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.progress import Progress
    from windtunnel.report.section import Section

    from .cost import Wishes


def is_run(model: Path | str) -> bool:
    """Whether an argument is an earlier benchmark: a run folder, or a profile of one."""
    return Path(model).is_dir() or Path(model).suffix == ".npz"


def compare_runs(
    models: Sequence[Path | str],
    cost: Wishes | None,
    fail_if_slower: float | None,
    out: Path | None,
    seed: int,
    progress: Progress,
) -> Done:
    """Compare two earlier benchmarks.

    Raises:
        ConfigError: something that cannot be asked of earlier runs.
        DataError: no profiles, or none that can be compared.
    """
    if cost is not None:
        raise ConfigError("prices what it measures", field="--cost", fix="give the ONNX file")
    if len(models) != 2 or not all(is_run(model) for model in models):
        raise ConfigError(
            "are not two runs", field="models", value=[str(model) for model in models],
            fix="give two run folders, or two profiles (.npz), of windtunnel benchmark",
        )  # fmt: skip
    a, b = (_read_profiles(Path(model)) for model in models)
    pairs = _pairs(a, b, [str(model) for model in models])
    inputs = {f"{side} {name}": _digest(profile) for side, run in (("a", a), ("b", b)) for name, profile in run.items()}
    make = partial(_compared, pairs=pairs, fail_if_slower=fail_if_slower)
    return run_alone("compare", out, {"fail_if_slower": fail_if_slower}, inputs, make, seed=seed, progress=progress)


def _digest(profile: LatencyProfile) -> str:
    samples = [digest_bytes(each.tobytes()) for each in profile.samples_s]
    return digest_value([profile.name, profile.runtime, profile.hardware.fingerprint, profile.batch_sizes, samples])


def _read_profiles(path: Path) -> dict[str, LatencyProfile]:
    """The profiles of one run, by name."""
    from windtunnel.latency_profile import LatencyProfile

    inside = path / "benchmark" if (path / "benchmark").is_dir() else path
    files = sorted(inside.glob("*.npz")) if path.is_dir() else [path]
    if not files:
        raise DataError("holds no profile", file=path, fix="give a run folder that windtunnel benchmark wrote")
    return {profile.name: profile for profile in map(LatencyProfile.load, files)}


def _pairs(
    a: Mapping[str, LatencyProfile], b: Mapping[str, LatencyProfile], names: list[str]
) -> list[tuple[LatencyProfile, LatencyProfile]]:
    """Profiles of one name; where each run has a single one, these whatever they are called."""
    if len(a) == len(b) == 1:
        return [(next(iter(a.values())), next(iter(b.values())))]
    shared = [name for name in a if name in b]
    if not shared:
        raise DataError(
            f"has {', '.join(b)}, the other {', '.join(a)}",
            file=names[1],
            fix="compare runs that share a variant and setting",
        )
    return [(a[name], b[name]) for name in shared]


def _compared(
    _work: Path, *, pairs: Sequence[tuple[LatencyProfile, LatencyProfile]], fail_if_slower: float | None
) -> tuple[dict[str, Any], Section, Verdict]:
    from windtunnel.benchmarks import compare_profiles, judge_slower
    from windtunnel.benchmarks.section import draw_comparisons

    found = tuple(each for a, b in pairs for each in compare_profiles(a, b))
    verdict = Verdict("go", tuple(each.sentence for each in found))
    invalid = [
        f"{p.name}: {reason}"
        for pair in pairs
        for p in pair
        if p.verdict.outcome != "go"
        for reason in p.verdict.reasons
    ]
    if invalid:
        verdict = Verdict("inconclusive", tuple(dict.fromkeys(invalid)), ("measure the invalid one again",))
    elif fail_if_slower is not None:
        each = 1.0 - 0.05 / len(found)
        verdict = judge_slower([one for a, b in pairs for one in compare_profiles(a, b, each)], fail_if_slower)
    document = {"comparisons": [each.to_dict() for each in found], "profiles": [], "costs": []}
    return document, draw_comparisons(found, verdict), verdict
