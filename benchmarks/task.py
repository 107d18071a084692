"""What is to be measured: one variant in one setting, loaded so and fed so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ModelError
from windtunnel.latency_profile import setting_name
from windtunnel.runtime import find_runtime

from .instances import RUNTIME

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from windtunnel.session import Session
    from windtunnel.variant import Variant

    Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Task:
    """One variant in one setting.

    Args:
        variant: the model.
        feeds: rows, by input name; batches are cut from their start.
        runtime: by name.
        described: the runtime with its version.
        threads: intra-op threads of an instance.
        concurrency: how many instances, a process each, are busy at once.
        size: the size class of the rows; empty where there is one only.
        source: what the runtime loads in place of the variant's file: a user's function, for torch.
        home: the folder that `source` is relative to.
    """

    variant: Variant
    feeds: Arrays
    runtime: str
    described: str
    threads: int = 1
    concurrency: int = 1
    size: str = ""
    source: str = ""
    home: Path = Path()

    @property
    def name(self) -> str:
        """What tells it from the other tasks of a measurement."""
        return setting_name(self.variant.name, self.described, self.threads, self.concurrency, self.size)

    @property
    def device(self) -> str:
        """Whose memory it computes in."""
        return find_runtime(self.runtime).device

    @property
    def loaded(self) -> Variant | str:
        """What the runtime loads: the file, or for torch the function."""
        return self.source or self.variant

    @property
    def opener(self) -> Callable[[], Session]:
        """Loads it."""
        return partial(find_runtime(self.runtime).open, self.loaded, threads=self.threads, home=self.home)


def tasks(
    variants: Sequence[Variant],
    feeds: Mapping[str, Arrays],
    *,
    runtimes: Sequence[str] = (RUNTIME,),
    threads: Sequence[int] = (1,),
    concurrency: Sequence[int] = (1,),
    functions: Mapping[str, str] | None = None,
    home: Path = Path(),
    here: bool = True,
) -> tuple[Task, ...]:
    """Every variant in every setting.

    Args:
        variants: the models.
        feeds: rows by input name, of every size class by its name (`""` where there is one only).
        runtimes: by name; where there are none, each variant in the runtime, and on the threads, that are its own.
        threads: intra-op threads of an instance.
        concurrency: instances that are busy at once.
        functions: for torch's runtimes the user's function that makes each variant's module, by the variant's name.
        home: the folder that functions are relative to.
        here: whether they run here; elsewhere a runtime may be there that is missing here, and says itself what it is.

    Raises:
        ConfigError: there is no such runtime.
        MissingError: a runtime cannot run here.
        ModelError: torch is asked for, and a variant has no function.

    Example:
        >>> from windtunnel.variant import Origin, Signature, Variant
        >>> model = Variant("m", Path("m.onnx"), "0" * 64, "fp32", 9, Signature((), ()), Origin("file"))
        >>> [each.name for each in tasks([model], {"n=8": {}, "n=64": {}}, threads=(1, 2))]
        ['m, n=8', 'm, 2 threads, n=8', 'm, n=64', 'm, 2 threads, n=64']
    """
    made = []
    for variant in variants:
        own = variant.execution
        for runtime in runtimes or (own.runtime,):
            base = _base(variant, runtime, (functions or {}).get(variant.name, ""), home, here=here)
            made += [
                replace(base, feeds=rows, size=size, threads=t, concurrency=c)
                for size, rows in feeds.items()
                for t in (threads if runtimes else (own.threads,))
                for c in concurrency
            ]
    return tuple(made)


def _base(variant: Variant, runtime: str, function: str, home: Path, *, here: bool) -> Task:
    found = find_runtime(runtime)
    if here:
        found.check()
    described = found.describe() if here else runtime
    if found.takes != "torch":
        return Task(variant, {}, runtime, described)
    if not function:
        raise ModelError(
            f"is a file, and {runtime} runs the module that a function returns",
            file=variant.path,
            fix="give file.py:function",
        )
    return Task(variant, {}, runtime, described, source=function, home=home)
