"""What is installed with an extra of windtunnel, imported when it is needed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from windtunnel.errors import MissingError

if TYPE_CHECKING:
    from types import ModuleType


def load_extra(module: str, extra: str) -> ModuleType:
    """Import a module that an extra brings.

    Args:
        module: to import.
        extra: that brings it.

    Raises:
        MissingError: it is not installed.

    Example:
        >>> load_extra("no_such_converter", "sklearn")
        Traceback (most recent call last):
        windtunnel.errors.MissingError: no_such_converter is not installed; pip install 'windtunnel[sklearn]'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise MissingError(f"{error.name} is not installed; pip install 'windtunnel[{extra}]'") from error
