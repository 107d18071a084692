"""JSON read without trust: no key twice, no nest that is too deep, no number that cannot be held."""

from __future__ import annotations

import json
import reprlib
from typing import Any

from windtunnel.errors import DataError


class Brief:
    """A value that a stranger sent, as it is shown: never longer than a line.

    Example:
        >>> Brief(list(range(1000)))
        [0, 1, 2, 3, 4, 5, ...]
    """

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return reprlib.repr(self.value)


def read_json(text: bytes | memoryview) -> Any:
    """Read one JSON value in UTF-8; `NaN` and `Infinity`, which are no JSON, are taken as many clients write them.

    Raises:
        DataError: not JSON, not UTF-8, a key that stands twice in one object, or nested too deep.

    Example:
        >>> read_json(b'{"a": [1, NaN]}')
        {'a': [1, nan]}
        >>> read_json(b'{"a": 1, "a": 2}')
        Traceback (most recent call last):
        windtunnel.errors.DataError: `a` stands twice in one object of the JSON; say it once
    """
    try:
        return _decoder.decode(str(text, "utf-8"))
    except RecursionError as error:
        raise DataError("is nested too deep", field="the JSON") from error
    except UnicodeDecodeError as error:
        raise DataError(f"is not UTF-8 (at byte {error.start})", field="the JSON") from error
    except DataError:
        raise
    except ValueError as error:  # not JSON, or a number with more digits than Python reads
        raise DataError(f"cannot be read ({error})", field="the JSON") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its pairs, where no key stands twice: whichever of two values counted, somebody else reads the other."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError("stands twice in one object of the JSON", field=twice[:80], fix="say it once")
    return made


_decoder = json.JSONDecoder(object_pairs_hook=_once)  # made once: json.loads makes one for every call that has a hook
