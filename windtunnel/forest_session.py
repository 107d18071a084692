"""A forest in its library's own file behind the door: what XGBoost's and LightGBM's predictors have in common."""

from __future__ import annotations

import abc
import importlib
from typing import TYPE_CHECKING, Any

from windtunnel.errors import MissingError, ModelError
from windtunnel.forest_file import read_forest_file
from windtunnel.session import Session, check_feeds, refusal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.forest_file import ForestFile, Library
    from windtunnel.session import Feeds
    from windtunnel.variant import Signature

INSTALL = "pip install 'windtunnel[sklearn]'"


class ForestSession(Session):
    """A forest that its own library answers for, from the file that the library wrote.

    Args:
        path: the library's own file; it is seen to be whole before the library is given it.
        signature: what it takes and gives; as the file says where not known yet.
        threads: that share the rows of one call.

    Raises:
        ModelError: not a whole file of the library, or not what the signature says.
        MissingError: the library is not installed.
    """

    library: Library

    def __init__(self, path: Path, signature: Signature | None = None, *, threads: int = 1) -> None:
        library = load_library(self.library)
        self.file = read_forest_file(path)
        if self.file.library != self.library:
            raise ModelError(
                f"is a model of {self.file.library}'s", file=path, fix=f"run it with the runtime {self.file.library}"
            )
        self.signature = signature if signature is not None else self.file.signature
        self.file.check(self.signature, path)
        self.threads = threads
        self._path, (self._input,), (self._output,) = path, self.signature.inputs, self.signature.outputs
        self._predict = self._load(library, path, self.file)

    @abc.abstractmethod
    def _load(self, library: Any, path: Path, file: ForestFile) -> Callable[[NDArray[Any]], NDArray[Any]]:
        """Open the file; what is given back answers rows with float32 `[rows, outputs]`."""

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        # a library would take other dtypes, and other names are not its own
        check_feeds(feeds, self.signature, self._path)
        return {self._output.name: self._answer(feeds)}

    def ready(self, feeds: Feeds) -> Callable[[], object]:
        """Make the library's own call on one batch, which is checked here, once."""
        check_feeds(feeds, self.signature, self._path)
        predict, name, rows = self._predict, self._output.name, feeds[self._input.name]
        return lambda: {name: predict(rows)}

    def _answer(self, feeds: Feeds) -> NDArray[Any]:
        try:
            return self._predict(feeds[self._input.name])
        except Exception as error:  # the libraries' errors share no base class; each is passed on with its words
            raise refusal(error, feeds, self.signature, self._path) from error


def load_library(name: Library) -> Any:
    """Import a library of trees.

    Raises:
        MissingError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingError(f"{name} is not installed; {INSTALL}") from error
