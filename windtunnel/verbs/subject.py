"""What a benchmark is to measure, as it was read: looked at, found fit, and not yet run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.digest import digest_file
from windtunnel.errors import ConfigError, DataError, ModelError
from windtunnel.hardware import Hardware
from windtunnel.source import is_function

from .inputs import USUAL_LENGTH, generate_feeds, open_model, read_feeds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from windtunnel.seeds import Seeds
    from windtunnel.variant import Signature, Variant

    from .settings import Settings

    Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Subject:
    """What is to be measured, as it was read: nothing of it is timed yet.

    Args:
        variants: the models.
        functions: the user's function behind each variant that was exported, by the variant's name.
        data: the file of real inputs.
        feeds: rows by input name, of every size class by its name.
    """

    variants: tuple[Variant, ...]
    functions: Mapping[str, str]
    data: Path | None
    feeds: Mapping[str, Arrays]

    @staticmethod
    def read(
        models: Sequence[Path | str],
        exported: Path,
        settings: Settings,
        data: Path | None,
        seeds: Seeds,
        *,
        here: bool = True,
    ) -> Subject:
        """Look at everything that is asked for, and refuse what cannot be measured before any work.

        Args:
            models: files and functions.
            exported: a folder for what functions make.
            settings: how they are measured.
            data: real inputs.
            seeds: of made-up ones.
            here: whether this machine's memory must hold it.
        """
        names = [name_of(model) for model in models]
        if len(set(names)) != len(names):
            raise ConfigError(
                "have the same name",
                field="models",
                value=names,
                fix="rename one: variants are named after their files",
            )
        variants = tuple(_variant(model, exported) for model in models)
        signature = variants[0].signature
        for variant in variants[1:]:
            if variant.signature.inputs != signature.inputs:
                raise ModelError(
                    "takes other inputs than the first model", file=variant.path, fix="compare models of one signature"
                )
        for variant in variants:
            _check_batch_axis(variant, settings.batch)
        functions = {name_of(model): str(model) for model in models if is_function(str(model))}
        real = _real_rows(data, signature)
        for variant in variants if here else ():
            _check_memory(variant.path, signature, settings, real)
        return Subject(variants, functions, data, _feeds_of(signature, settings, real, seeds))

    def digests(self) -> dict[str, str]:
        """Of everything that is read."""
        found = {"data": digest_file(self.data)} if self.data is not None else {}
        return found | {variant.name: variant.sha256 for variant in self.variants}


def _check_batch_axis(variant: Variant, batch: tuple[int, ...]) -> None:
    """Refuse batches that a fixed first axis cannot hold, and inputs that are no rows."""
    fixed = {
        tensor.shape[0] for tensor in variant.signature.inputs if tensor.shape and isinstance(tensor.shape[0], int)
    }
    free = any(tensor.shape and isinstance(tensor.shape[0], str) for tensor in variant.signature.inputs)
    if any(not tensor.shape for tensor in variant.signature.inputs) or len(fixed) > 1 or (fixed and free):
        shapes = {tensor.name: list(tensor.shape) for tensor in variant.signature.inputs}
        raise ModelError(
            "takes inputs that do not all have a row a request on their first axis", file=variant.path, value=shapes,
            fix="export it with what is no row inside the graph",
        )  # fmt: skip
    if fixed and set(batch) != fixed:
        raise ConfigError(
            f"cannot be chosen: {variant.name} takes exactly {min(fixed)} rows a call", field="--batch", value=batch,
            fix=f"give --batch {min(fixed)}, or export it with a free first axis",
        )  # fmt: skip


def _variant(model: Path | str, exported: Path) -> Variant:
    from windtunnel.variant import Variant

    if not is_function(str(model)):
        return Variant.from_file(Path(model))
    folder = exported / name_of(model)
    folder.mkdir()
    return replace(open_model(str(model), folder, Path.cwd()), name=name_of(model))


def name_of(model: Path | str) -> str:
    """What a variant is called: after its file, or its function."""
    return str(model).rpartition(":")[2] if is_function(str(model)) else Path(model).stem


def _real_rows(data: Path | None, signature: Signature) -> Arrays | None:
    """The rows that were given; None where they are to be made up."""
    from windtunnel.table import check_file

    if data is None:
        return None
    check_file(data)
    return read_feeds(data, signature)[0]


def _feeds_of(signature: Signature, settings: Settings, real: Arrays | None, seeds: Seeds) -> dict[str, Arrays]:
    """Rows of every size class, by its name: real ones cut or repeated along the axis, or made up."""
    classes = size_classes(signature, settings.sizes)
    if real is None:
        return {name: generate_feeds(signature, max(settings.batch), seeds, sizes) for name, sizes in classes.items()}
    return {name: resized(real, signature, sizes) for name, sizes in classes.items()}


def size_classes(signature: Signature, sizes: Mapping[str, tuple[int, ...]]) -> dict[str, dict[str, int]]:
    """Every combination of lengths, by the name of its class."""
    free = {axis for tensor in signature.inputs for axis in tensor.shape[1:] if isinstance(axis, str)}
    for axis in sizes:
        if axis not in free:
            raise ConfigError(
                "is no free axis of the inputs", field="--size", value=axis,
                fix=f"the free axes are: {', '.join(sorted(free)) or 'none'}",
            )  # fmt: skip
    classes: list[dict[str, int]] = [{}]
    for axis, lengths in sizes.items():
        classes = [known | {axis: length} for known in classes for length in lengths]
    return {" ".join(f"{axis}={length}" for axis, length in each.items()): each for each in classes}


def resized(real: Arrays, signature: Signature, sizes: Mapping[str, int]) -> Arrays:
    """Real rows with an axis cut or repeated to a length."""
    import numpy as np

    feeds = {}
    for tensor in signature.inputs:
        array = real[tensor.name]
        for position, axis in enumerate(tensor.shape):
            if position and isinstance(axis, str) and axis in sizes:
                if not array.shape[position]:
                    raise DataError(
                        "has no entries to repeat", field=f"{tensor.name}[{position}]", fix="give at least one"
                    )
                array = np.take(array, np.arange(sizes[axis]) % array.shape[position], axis=position)
        feeds[tensor.name] = np.ascontiguousarray(array)
    return feeds


def _check_memory(file: Path, signature: Signature, settings: Settings, real: Arrays | None) -> None:
    """Refuse batches that cannot fit, by what the graph says it holds at once."""
    from windtunnel.benchmarks import available_bytes, refuse_beyond_memory
    from windtunnel.graph import read_graph

    cores = max(1, int(Hardware.detect().cores))
    free, instances = available_bytes(), cores if settings.scaling else max(settings.concurrency)
    for sizes in size_classes(signature, settings.sizes).values():
        lengths = _lengths(signature, sizes, real)
        try:
            read_graph(file, {**lengths, "batch": 1})
        except ModelError:
            return  # a graph that cannot be counted runs all the same: nothing is predicted of it, so nothing refused

        def peak_bytes(batch: int, lengths: Mapping[str, int] = lengths) -> int:
            return read_graph(file, {**lengths, "batch": batch}).peak_bytes

        refuse_beyond_memory(file.stem, (max(settings.batch),), peak_bytes, free, instances=instances)


def _lengths(signature: Signature, sizes: Mapping[str, int], real: Arrays | None) -> dict[str, int]:
    """How long each free axis but the batch is: as asked, as in the rows given, or as it is made up."""
    found: dict[str, int] = {}
    for tensor in signature.inputs:
        for position, axis in enumerate(tensor.shape):
            if position and isinstance(axis, str):
                length = sizes.get(axis, real[tensor.name].shape[position] if real else USUAL_LENGTH)
                # an axis without a name in the file goes by its place there
                found |= {axis: length, f"{tensor.name}[{position}]": length}
    return found
