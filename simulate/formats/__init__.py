"""Formats of recorded traffic: `read` finds out which a file is, and turns it into a `Trace`.

Adding a format is one file with a `Format` in it, and one line in `FORMATS`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from windtunnel.errors import ConfigError, DataError, nearest
from windtunnel.seeds import Seeds

from .access_log import ACCESS_LOG
from .azure_functions_2019 import AZURE_FUNCTIONS_2019
from .azure_functions_2021 import AZURE_FUNCTIONS_2021
from .azure_llm import AZURE_LLM
from .burstgpt import BURSTGPT
from .cloud_events import CLOUD_EVENTS
from .counts import COUNTED
from .databricks import DATABRICKS, DATABRICKS_GATEWAY
from .envoy import ENVOY
from .format import Format
from .locust_requests import LOCUST
from .mooncake import MOONCAKE
from .opentelemetry import OPENTELEMETRY
from .own import OWN, write
from .plain import CSV, JSON_LINES, PARQUET
from .reading import Ask, Reading, Tally
from .rows import settle
from .sagemaker import SAGEMAKER
from .source import Source
from .splitwise import SPLITWISE
from .vidur import VIDUR

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["FORMATS", "Ask", "Format", "Reading", "detect", "read", "write"]

KNOWN: tuple[Format, ...] = (
    OWN, AZURE_LLM, AZURE_FUNCTIONS_2019, AZURE_FUNCTIONS_2021, BURSTGPT, MOONCAKE, VIDUR, SPLITWISE, ACCESS_LOG, ENVOY, LOCUST,
    OPENTELEMETRY, SAGEMAKER, CLOUD_EVENTS, DATABRICKS, DATABRICKS_GATEWAY, COUNTED,
)  # fmt: skip
GENERAL: tuple[Format, ...] = (PARQUET, CSV, JSON_LINES)
"""What a file is taken for only if it is none of the known."""

FORMATS: Mapping[str, Format] = {each.name: each for each in (*KNOWN, *GENERAL)}
"""Every format, by the name that `--format` takes."""

HEARD_BY_ALL = frozenset({"format", "spread", "sampled"})
"""What may be said about a file of any format."""


def read(path: Path, ask: Ask | None = None, seeds: Seeds | None = None) -> Reading:
    r"""Read a file of recorded traffic.

    Args:
        path: the file, packed with gzip or not.
        ask: what the user says about it; what is left open is found out.
        seeds: for the instants of requests whose stamps are coarse.

    Raises:
        DataError: it is of no known format, most of it cannot be used, or what it holds is no trace.
        ConfigError: a format that is not known.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "t.csv"
        >>> _ = path.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,10,20\n0.25,7,9\nx,1,1\n")
        >>> reading = read(path)
        >>> reading.format, reading.trace.arrivals_s.tolist(), reading.skipped, reading.noticed
        ('vidur', [0.0, 0.25], {'time_unreadable': 1}, {'unsorted': 1})
    """
    ask, seeds = ask or Ask(), seeds or Seeds()
    source, tally = Source.look(path), Tally()
    form = detect(source, ask)
    _check_heard(form, ask)
    rows = form.read(source, ask, tally, seeds)
    return settle(path, form.name, rows, ask, tally, seeds)


def _check_heard(form: Format, ask: Ask) -> None:
    """Refuse what was said about a file and means nothing to its format."""
    for each in fields(Ask):
        if each.name in form.hears | HEARD_BY_ALL or getattr(ask, each.name) == getattr(Ask(), each.name):
            continue
        option = {"bin_s": "bin", "columns": "column"}.get(each.name, each.name.replace("_", "-"))
        raise ConfigError(f"means nothing to a file of format {form.name}", field=f"--{option}", fix="leave it out, or say another --format")  # fmt: skip


def detect(source: Source, ask: Ask) -> Format:
    """Say which format a file is of: the one that was named, else the one known that fits, else the general one that fits.

    A column of times that was named makes any table readable.

    Raises:
        ConfigError: a name that is not known.
        DataError: none fits, or more than one.
    """
    if ask.format:
        if ask.format not in FORMATS:
            raise ConfigError("is not a format", field="--format", value=ask.format, fix=nearest(ask.format, FORMATS))
        return FORMATS[ask.format]
    fitting = [each for each in KNOWN if each.matches(source)]
    if len(fitting) == 1:
        return fitting[0]
    general = {"csv": CSV, "json": JSON_LINES, "parquet": PARQUET}.get(source.kind)
    if not fitting and general is not None and (ask.time or general.matches(source)):
        return general
    columns = f"its columns are {', '.join(source.header[:20])}"
    seen = columns if source.header else f"it begins with {source.first[:80]!r}"
    why = f"may be {' or '.join(each.name for each in fitting)}" if fitting else "is of no format that is known"
    known = f"say which with --format ({', '.join(sorted(FORMATS))}) or name a column with --time"
    raise DataError(f"{why}: {seen}", file=source.path, fix=known)
