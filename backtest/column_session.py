"""A model of one matrix, asked column by column, so that whoever feeds models from tables need not know of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError
from windtunnel.feed import takes_matrix
from windtunnel.session import Session
from windtunnel.variant import Signature, Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class ColumnSession(Session):
    """Stands before a session that takes one matrix `[batch, n]`, and takes an input `[batch]` for each of its columns.

    Args:
        session: the model.
        columns: what the matrix's columns are called, in their order.
        name: of the model, for messages.

    Raises:
        ModelError: there are not as many columns as the matrix has.
    """

    def __init__(self, session: Session, columns: Sequence[str], name: str) -> None:
        (matrix,) = session.signature.inputs
        width = matrix.shape[1]
        if not columns or (isinstance(width, int) and width != len(columns)):
            raise ModelError(
                f"takes {width if isinstance(width, int) else 'several'} columns as one matrix, where columns.features names {len(columns)}",
                file=name, field=matrix.name, fix="name in columns.features those that it was trained on, in their order",
            )  # fmt: skip
        inputs = tuple(Tensor(column, matrix.dtype, matrix.shape[:1]) for column in columns)
        self.signature = Signature(inputs, session.signature.outputs)
        self._session, self._matrix = session, matrix.name

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        columns = [feeds[each.name] for each in self.signature.inputs]
        return self._session.run({self._matrix: np.column_stack(columns)})


def by_column(session: Session, features: Sequence[str], name: str) -> Session:
    """The session as it is fed from a table: a model of one matrix from the features, any other from the columns it names.

    Args:
        session: the model.
        features: the columns that are the models' inputs, in their order.
        name: of the model, for messages.

    Raises:
        ModelError: the features are not as many as the matrix has columns.
    """
    if not takes_matrix(session.signature):
        return session
    (matrix,) = session.signature.inputs
    # a matrix of one column is a column
    return session if matrix.name in features or matrix.shape[1] == 1 else ColumnSession(session, features, name)
