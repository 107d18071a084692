"""What the verbs read: a model from a file or a factory, and rows to feed it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.digest import digest_file
from windtunnel.errors import DataError, ModelError
from windtunnel.factory import make_module
from windtunnel.progress import SILENT
from windtunnel.source import digest_sources, is_function

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from windtunnel.optimize.conversion import Conversion
    from windtunnel.progress import Progress
    from windtunnel.seeds import Seeds
    from windtunnel.variant import Signature, Variant

    from .rows import Rows

    Arrays = dict[str, NDArray[Any]]

FITTED = {".skops", ".pkl", ".pickle", ".joblib"}
"""Suffixes of scikit-learn's models."""

BOOSTED = {".txt", ".lgb", ".model", ".json", ".ubj"}
"""Suffixes of LightGBM's and XGBoost's own files."""

RUNS_CODE = {".pt2", ".pkl", ".pickle", ".joblib"}
"""Suffixes of files that may run code when they are read, and are read by permission only."""

OTHER_FORMS = {".pt2"} | FITTED | BOOSTED
"""Suffixes of models that are no ONNX yet."""

CONVERTERS = ("skl2onnx", "scikit-learn", "lightgbm", "xgboost", "xgboost-cpu", "onnx", "torch")
"""Packages whose version can change what a conversion makes."""


def open_model(
    text: str,
    folder: Path,
    home: Path,
    *,
    allow_pickle: bool = False,
    depends_on: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Variant:
    """Take an ONNX file as it is, or make one of another form of model, checked against its source.

    By suffix: `.onnx`; `.pt2` (torch.export); `.skops` (scikit-learn); `.txt`, `.lgb`, `.model`, `.json`, `.ubj` (LightGBM and
    XGBoost, by what they start with); `.pkl`, `.pickle`, `.joblib` by permission. `module.py:factory` makes a torch module.

    Args:
        text: a path, or a function that returns a torch module and example inputs by argument name.
        folder: where the ONNX file goes.
        home: what `text` is relative to.
        allow_pickle: whether a file may be read that runs what it holds.
        depends_on: files that the function reads.
        progress: what a conversion came to is said here.

    Raises:
        ModelError: no whole model, a pickle without permission, or one that ONNX cannot express.
        UserCodeError: the factory raised.
        MissingError: an extra is not installed.
    """
    from windtunnel.onnx_file import copy_model
    from windtunnel.optimize.step import keep
    from windtunnel.variant import Origin, Variant

    if is_function(text):
        origin = Origin("export", "", digest_sources([text, *depends_on], home))
        return keep(folder, "fp32", "fp32", origin, lambda target: convert(text, target, home, progress=progress))
    path = home / text
    if path.suffix not in OTHER_FORMS:
        given = Variant.from_file(path)
        return keep(folder, "fp32", "fp32", Origin("file", given.sha256), lambda target: copy_model(given.path, target))
    check_form(text, home)
    settings = {"form": path.suffix, "sha256": digest_file(path), "versions": _versions()}

    def make(target: Path) -> None:
        convert(text, target, home, allow_pickle=allow_pickle, progress=progress)

    return keep(folder, "fp32", "fp32", Origin("convert", "", settings), make)


def convert(
    text: str, target: Path, home: Path, *, allow_pickle: bool = False, progress: Progress = SILENT
) -> dict[str, Any]:
    """Write a model of another form as ONNX, compared with its source.

    Args:
        text: as for `open_model`.
        target: where the ONNX file goes.
        home: what `text` is relative to.
        allow_pickle: whether a file may be read that runs what it holds.
        progress: what a conversion came to is said here.

    Returns:
        How near it comes to its source, and by which way, as JSON values: `largest_difference` and more.

    Raises:
        ModelError: it is ONNX already, a pickle without permission, or cannot be expressed.
        UserCodeError: the factory raised.
        MissingError: an extra is not installed.
    """
    if is_function(text):
        from windtunnel.optimize.export import export

        made = make_module(text, home)
        return export(made.module, made.inputs, target, made.axes or None, source=text).to_dict()
    given = home / text
    check_form(text, home)
    if allow_pickle and given.suffix in RUNS_CODE:
        progress.say(f"warning: reading {text} may run code that it holds: --allow-pickle was given")
    if given.suffix == ".pt2":
        from windtunnel.optimize.program import export_program

        return export_program(given, target, allow_pickle=allow_pickle).to_dict()
    found = _fitted(given, target, allow_pickle=allow_pickle)
    progress.say(f"{given.name}: {found.sentence}")
    told = found.to_dict()
    return {"largest_difference": told.pop("worst"), **told}


def check_form(text: str, home: Path) -> None:
    """Refuse what is no model of another form than ONNX.

    Raises:
        ModelError: its suffix says nothing, or there is no such file.
    """
    given = home / text
    if is_function(text):
        return
    if given.suffix == ".py":
        raise ModelError("names no function", file=given, fix=f"write {text}:factory")
    if given.suffix == ".onnx":
        raise ModelError(
            "is ONNX by its name, and needs no export", file=given, fix="give it to the other commands as it is"
        )
    if given.suffix not in OTHER_FORMS:
        raise ModelError(
            "is of no form that is exported", file=given,
            fix=f"give module.py:factory, or a file that ends in {', '.join(sorted(OTHER_FORMS))}",
        )  # fmt: skip
    if not given.is_file():
        raise ModelError("does not exist", file=given, fix="give the path of a model")


def _fitted(given: Path, target: Path, *, allow_pickle: bool) -> Conversion:
    """Write what scikit-learn, LightGBM or XGBoost kept."""
    if given.suffix in BOOSTED:
        from windtunnel.optimize.boosted import export_boosted

        return export_boosted(given, target)
    from windtunnel.optimize.fitted import load_fitted
    from windtunnel.optimize.sklearn_export import export_sklearn

    return export_sklearn(load_fitted(given, allow_pickle=allow_pickle), target, source=str(given))


def _versions() -> dict[str, str]:
    from windtunnel.run_folder import environment

    known = environment()
    return {package: known[package] for package in CONVERTERS if package in known}


def digest_data(path: Path) -> str:
    """The digest of the file behind `--data`.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return digest_file(path)
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror})", file=path, field="--data", fix="give the path of a file that can"
        ) from error


def read_feeds(
    source: Path | str,
    model: Variant | Signature,
    label: str = "",
    *,
    leave: Sequence[str] = (),
    home: Path | None = None,
    progress: Progress = SILENT,
) -> tuple[Arrays, NDArray[np.float64] | None]:
    """Read a model's inputs, and labels where there are some.

    Args:
        source: an npz file with an array per input (and `label`); a table with a column per input, or with the columns of
            the one matrix that the model takes; or `module.py:loader`, see `rows.load_rows`.
        model: a variant, whose file may say what its columns and classes are called, or its signature.
        label: the label's column or array; `label` in an npz file or a loader's batch where empty.
        leave: columns that are no features: groups, slices.
        home: what a loader is relative to.
        progress: which columns feed a matrix is said here.

    Raises:
        DataError: an input is missing, of the wrong dtype or shape, or holds NaN where the model takes whole numbers; a
            label is no number, or missing in some row; too much for the memory.
        UserCodeError: the loader raised.
    """
    from windtunnel.model_names import ModelNames
    from windtunnel.variant import Variant

    rows = _rows(source, home)
    if isinstance(model, Variant):
        signature, names = model.signature, ModelNames.read(model.path)
    else:
        signature, names = model, ModelNames()
    matrix = rows.matrix(signature, (label, *leave), names)
    feeds, labels = rows.feeds(signature, matrix), rows.labels(label, names)
    if matrix:
        shown = ", ".join(matrix[:8]) + (f" and {len(matrix) - 8} more" if len(matrix) > 8 else "")
        progress.say(f"columns taken: {shown}")
    return feeds, labels


def read_columns(source: Path | str, names: Sequence[str], rows: int, *, home: Path | None = None) -> Arrays:
    """Read further columns of the rows: queries, customers, what slices are cut by.

    Args:
        source: as for `read_feeds`.
        names: of the columns or arrays.
        rows: how many there are.
        home: what a loader is relative to.

    Raises:
        DataError: there is no such column, or it has not one value a row.
    """
    return _rows(source, home).columns(names, rows)


def _rows(source: Path | str, home: Path | None) -> Rows:
    from .rows import load_rows, read_rows

    if isinstance(source, str) and is_function(source):
        return load_rows(source, home or Path())
    return read_rows((home or Path()) / source)


USUAL_LENGTH = 16
"""How long a free axis other than the batch is made where nobody says."""


def generate_feeds(signature: Signature, rows: int, seeds: Seeds, sizes: Mapping[str, int] | None = None) -> Arrays:
    """Make inputs up from a signature: normal floats, small whole numbers.

    Args:
        signature: of the model.
        rows: how many.
        seeds: stream `inputs` is used.
        sizes: how long free axes are, by name; `USUAL_LENGTH` where not given.

    Example:
        >>> from windtunnel.seeds import Seeds
        >>> from windtunnel.variant import Signature, Tensor
        >>> signature = Signature((Tensor("x", "float32", ("n", "words", 4)),), ())
        >>> generate_feeds(signature, 3, Seeds(1), {"words": 7})["x"].shape
        (3, 7, 4)
    """
    import numpy as np

    rng = seeds.stream("inputs")
    feeds = {}
    for tensor in signature.inputs:
        axes = (axis if isinstance(axis, int) else (sizes or {}).get(axis, USUAL_LENGTH) for axis in tensor.shape[1:])
        shape = (rows, *axes)
        feeds[tensor.name] = _made_up(rng, np.dtype(tensor.dtype), shape)
    return feeds


def _made_up(rng: np.random.Generator, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Of the dtype from the start where the generator can, so that large inputs are not held twice."""
    import numpy as np

    if dtype in {np.dtype("float32"), np.dtype("float64")}:
        return rng.standard_normal(shape, dtype=dtype.type)
    if np.issubdtype(dtype, np.floating):
        return rng.standard_normal(shape, dtype=np.float32).astype(dtype)
    if dtype == np.bool_ or np.issubdtype(dtype, np.integer):
        return rng.integers(0, 2, size=shape, dtype=dtype.type)
    if dtype.kind == "O":
        return rng.choice(np.array(["a", "b"], dtype=object), size=shape)
    return rng.integers(0, 2, size=shape).astype(dtype)
