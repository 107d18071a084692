"""The guard before a measurement: what would not fit into memory is refused, and never tried."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.errors import ConfigError
from windtunnel.quantity import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def available_bytes(cgroup: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> int | None:
    """How much memory can still be taken: what the cgroup's limit leaves, and what the machine has, whichever is less.

    The cgroup's file cache that nobody used lately is given back under pressure, and counts as free (as Kubernetes does
    in its working set). None where neither can be read.

    Args:
        cgroup: where the cgroup is mounted (v2, then v1).
        proc: where `meminfo` is.
    """
    bounds = [bound for bound in (_left_in_cgroup(cgroup), _left_in_machine(proc / "meminfo")) if bound is not None]
    return max(0, min(bounds)) if bounds else None


def _left_in_cgroup(cgroup: Path) -> int | None:
    v1 = cgroup / "memory"
    for limit, used, cache in (
        (cgroup / "memory.max", cgroup / "memory.current", "inactive_file"),
        (v1 / "memory.limit_in_bytes", v1 / "memory.usage_in_bytes", "total_inactive_file"),
    ):
        if limit.exists() and used.exists():
            text = limit.read_text().strip()
            given_back = _field(limit.parent / "memory.stat", cache) or 0
            return None if text == "max" else int(text) - int(used.read_text()) + given_back
    return None


def _left_in_machine(meminfo: Path) -> int | None:
    kibibytes = _field(meminfo, "MemAvailable:")
    return kibibytes * 1024 if kibibytes is not None else None


def _field(path: Path, name: str) -> int | None:
    """The number after a name at the start of a line."""
    if not path.exists():
        return None
    for line in path.read_text().splitlines():
        words = line.split()
        if words and words[0] == name:
            return int(words[1])
    return None


def refuse_beyond_memory(
    variant: str,
    batch_sizes: Sequence[int],
    peak_bytes: Callable[[int], int],
    available: int | None,
    *,
    instances: int = 1,
) -> None:
    """Refuse batch sizes whose predicted peak does not fit, before any of them is run.

    The prediction (weights, and the most that tensors hold at once) is a lower bound: runtimes copy weights into other
    layouts and keep arenas. What is refused cannot fit; what is let through might still not.

    Args:
        variant: its name.
        batch_sizes: rows a call.
        peak_bytes: the predicted peak of one instance at a batch size, such as `Graph.peak_bytes`; it may not fall with it.
        available: what there is; nothing is refused where None.
        instances: how many are held at once.

    Raises:
        ConfigError: one does not fit; names the prediction, what there is, and the largest batch that fits.

    Example:
        >>> refuse_beyond_memory("m", (1, 64), lambda batch: 2**20 * batch, 2**30)
        >>> refuse_beyond_memory("m", (1, 64), lambda batch: 2**20 * batch, 2**25, instances=2)
        Traceback (most recent call last):
        windtunnel.errors.ConfigError: `batch` (=64) needs at least 128 MiB for 2 instances of m, and 32 MiB are free; \
the largest batch that fits is 16
    """
    if available is None:
        return
    for batch in sorted(batch_sizes):
        needed = instances * peak_bytes(batch)
        if needed > available:
            largest = _largest(lambda rows: instances * peak_bytes(rows) <= available, batch)
            what = f"{instances} instances of {variant}" if instances > 1 else variant
            raise ConfigError(
                f"needs at least {format_bytes(needed)} for {what}, and {format_bytes(available)} are free",
                field="batch", value=batch,
                fix=f"the largest batch that fits is {largest}" if largest else "no batch fits: free memory, or measure on a larger machine",
            )  # fmt: skip


def _largest(fits: Callable[[int], bool], too_many: int) -> int:
    """The largest number below one that does not fit, by bisection; 0 where not even one row fits."""
    low, high = 0, too_many
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
