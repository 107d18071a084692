"""Every way in which windtunnel refuses, in one tree.

WindtunnelError                exit 1
├── InputError                 exit 2   what was given cannot be used
│   ├── ConfigError                     a key or value of windtunnel.toml
│   ├── DataError                       a recording, trace or table
│   ├── ModelError                      a model file, factory or signature
│   ├── RunFolderError                  a run folder that is not ours, or not intact
│   └── UserCodeError                   the user's own function raised; its traceback is shown, not ours
├── MeasurementError           exit 3   what was to be measured did not come to an end, so nothing is known
└── MissingError               exit 4   the environment lacks something that can be installed

A message names the file, the field, the value and the way out, in that order, as far as they are known.
"""

from __future__ import annotations

import contextlib
import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class WindtunnelError(Exception):
    """The root of the tree: catch it to catch everything that windtunnel raises on purpose."""

    exit_code = 1


class InputError(WindtunnelError):
    """What was given cannot be used, and was refused before work started.

    Args:
        problem: what is wrong, as a clause.
        file: the file it stands in.
        field: the key, column, input or option.
        value: the offending value.
        fix: the way out, as a clause.
        role: the part that the field plays, where the user calls it otherwise.

    Example:
        >>> print(DataError("is not a column", file="a.csv", field="time", fix="the columns are: t, y"))
        a.csv: `time` is not a column; the columns are: t, y
    """

    exit_code = 2

    def __init__(
        self, problem: str, *, file: Path | str | None = None, field: str = "", value: object = None, fix: str = "",
        role: str = "",
    ) -> None:  # fmt: skip
        self.problem, self.file, self.field, self.value, self.fix, self.role = problem, file, field, value, fix, role
        where = f"{file}: " if file is not None else ""
        what = (f"`{field}` " if field else "") + (f"({role}) " if role else "")
        shown = f"(={value!r}) " if value is not None else ""
        way_out = f"; {fix}" if fix else ""
        super().__init__(f"{where}{what}{shown}{problem}{way_out}")


class ConfigError(InputError):
    """A key or value of windtunnel.toml, or an option of the command line."""


class DataError(InputError):
    """A recording, trace or table."""


class ModelError(InputError):
    """A model file, a factory or a signature."""


class RunFolderError(InputError):
    """A run folder that is not ours to write, or not intact."""


class UserCodeError(InputError):
    """The user's own function raised."""


class MeasurementError(WindtunnelError):
    """What was to be measured did not come to an end: a process died or fell silent; the message says what may help."""

    exit_code = 3


class MissingError(WindtunnelError):
    """The environment lacks something; the message says the command that installs it."""

    exit_code = 4


@contextlib.contextmanager
def naming(*, file: Path | str | None = None, field: str = "") -> Iterator[None]:
    """Let a refusal from deeper down name the file and the option that the user gave, where it could not know them.

    Args:
        file: named where the refusal names none.
        field: named in place of the refusal's own.

    Example:
        >>> with naming(field="--budget"):
        ...     raise ConfigError("is not a duration", value="5")
        Traceback (most recent call last):
        windtunnel.errors.ConfigError: `--budget` (='5') is not a duration
    """
    try:
        yield
    except InputError as error:
        place = error.file if error.file is not None else file
        named = field or error.field
        role = "" if field else error.role
        raise type(error)(
            error.problem, file=place, field=named, value=error.value, fix=error.fix, role=role
        ) from error


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known names `name` may have meant.

    Example:
        >>> nearest("max_bach", ["max_batch", "replicas"])
        'did you mean `max_batch`?'
        >>> nearest("zzz", ["b", "a"])
        'known: a, b'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(f"`{each}`" for each in close) + "?"
    return "known: " + ", ".join(names)
