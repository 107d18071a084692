"""A fitted scikit-learn model from a file: from skops whatever is plain data, from pickles only by permission.

A pickle runs what it likes while it is read. skops runs nothing but builds objects of named types, so the names decide: types
that only hold fitted numbers are built, functions and everything else are refused by name.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ModelError
from windtunnel.hardware import allowed_memory_bytes
from windtunnel.quantity import format_bytes
from windtunnel.session import first_line

from .extra import load_extra
from .sklearn_forest import check_trees

if TYPE_CHECKING:
    from pathlib import Path

PICKLES = {".pkl", ".pickle", ".joblib"}
"""Suffixes of files that run code when they are read."""

PLAIN = (
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.",
    "sklearn.metrics._dist_metrics.",
    "sklearn.linear_model._sgd_fast.",
    "sklearn.calibration._",
    "sklearn.compose._column_transformer._RemainderColsList",
    "sklearn.preprocessing._label.",
    "sklearn.utils._bunch.Bunch",
    "sklearn._loss.",
    "numpy.dtype",
    "scipy.interpolate._interpolate.interp1d",
    "scipy.sparse.",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBM",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGB",
    "functools.partial",  # of a function that is asked for by its own name
    "sklearn.utils.validation.check_array",
    "collections.OrderedDict",
    "collections.defaultdict",
)
"""Beginnings of the names of types that hold fitted numbers; the trees among them are checked once they are built."""


def load_fitted(path: Path, *, allow_pickle: bool = False) -> Any:
    """Read a fitted estimator or pipeline.

    Args:
        path: a skops file, or a pickle (also joblib's).
        allow_pickle: whether a pickle may be read, and so run whatever it holds.

    Raises:
        ModelError: missing, torn, a pickle without leave, a type that is not plain data, or trees that point outside themselves.
        MissingError: skops or scikit-learn's companions are not installed.
    """
    if path.suffix in PICKLES and not allow_pickle:
        raise ModelError(
            "is a pickle, which runs whatever it holds when it is read",
            file=path,
            fix="save it with skops.io.dump, or allow it with --allow-pickle if you trust where it comes from",
        )
    if not path.is_file():
        raise ModelError("does not exist", file=path, fix="give the path of the saved model")
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # another version of scikit-learn wrote it: the comparison with its source decides
        model = _unpickle(path) if path.suffix in PICKLES else _read_skops(path)
    check_trees(model, str(path))
    return model


def _read_skops(path: Path) -> Any:
    skops = load_extra("skops.io", "sklearn")
    try:
        _check_size(path)
        found = skops.get_untrusted_types(file=path)
        _check_types(found, path)
        return skops.load(path, trusted=found)
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"needs a type that is not installed here ({first_line(error)})",
            file=path,
            fix="install the package it is from",
        ) from error
    # RuntimeError: encrypted, or nested without end; MemoryError: an array whose header promises what is not there
    except (
        zipfile.BadZipFile, zlib.error, LookupError, ValueError, TypeError, OSError, EOFError, RuntimeError, MemoryError,
    ) as error:  # fmt: skip
        raise ModelError(
            f"is no whole skops file ({first_line(error)})", file=path, fix="save it again with skops.io.dump"
        ) from error


def _check_size(path: Path) -> None:
    """Refuse a file of some kilobytes that would unpack to any number of gigabytes."""
    limit = allowed_memory_bytes() // 2
    with zipfile.ZipFile(path) as archive:
        total = sum(part.file_size for part in archive.infolist())
    if total > limit:
        raise ModelError(
            f"unpacks to {format_bytes(total)} where {format_bytes(limit)} may be held",
            file=path, fix="run it on a larger machine",
        )  # fmt: skip


def _check_types(found: list[str], path: Path) -> None:
    refused = [name for name in found if not name.startswith(PLAIN)]
    if refused:
        raise ModelError(
            "holds types that are more than fitted numbers",
            file=path,
            value=", ".join(sorted(refused)),
            fix="leave those steps out; where you trust its maker, a pickle and --allow-pickle are the other way",
        )


def _unpickle(path: Path) -> Any:
    joblib = load_extra("joblib", "sklearn")

    try:
        return joblib.load(path)  # joblib reads plain pickles too
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        KeyError,
        IndexError,
        AttributeError,
        ImportError,
        TypeError,
    ) as error:
        raise ModelError(
            f"cannot be read ({type(error).__name__}: {first_line(error)})", file=path, fix="save it again"
        ) from error
