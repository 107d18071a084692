"""Every format of recordings, and which one a file is of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from windtunnel.errors import ConfigError, DataError, nearest

from .cloud_events import CLOUD_EVENTS
from .databricks import DATABRICKS
from .own import OWN
from .plain import LINE, columns_of, kind_of, lines, scan
from .sagemaker import SAGEMAKER, SAGEMAKER_TRUTH
from .tables import TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .format import Format

KNOWN: tuple[Format, ...] = (SAGEMAKER, SAGEMAKER_TRUTH, CLOUD_EVENTS, DATABRICKS, OWN)

FORMATS: Mapping[str, Format] = {each.name: each for each in (*KNOWN, TABLE)}
"""Every format by its name."""


def detect(file: str, name: str = "") -> Format:
    """Say which format a file is of: the one that was named, else the one known that its columns or keys fit, else a plain table.

    Raises:
        ConfigError: a name that is not known.
        DataError: a file that cannot be read.
    """
    if name:
        if name not in FORMATS:
            raise ConfigError("is not a format", field="format", value=name, fix=nearest(name, FORMATS))
        return FORMATS[name]
    names = _names(file)
    return next((each for each in KNOWN if each.matches(names)), TABLE)


def _names(file: str) -> frozenset[str]:
    """The columns of a table, or the keys of the first object of a log and of the headers in it."""
    if kind_of(file) != "json":
        return frozenset(columns_of(scan(file), file))
    for piece in lines(file, 16):
        for line in piece[LINE]:
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                headers = found.get("headers")
                return frozenset(found) | frozenset(headers if isinstance(headers, dict) else ())
        break
    raise DataError(
        "holds no JSON object in its first lines",
        file=file,
        fix="give Parquet, CSV (.csv) or JSON lines, an object a line",
    )
