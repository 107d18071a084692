from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel import errors
from windtunnel.errors import (
    ConfigError,
    DataError,
    InputError,
    MeasurementError,
    MissingError,
    ModelError,
    RunFolderError,
    UserCodeError,
    WindtunnelError,
    nearest,
)


def test_message_order() -> None:
    """A message names the file, the field, the value and the way out, in that order."""
    error = InputError("is too long", file=Path("a.csv"), field="t", value=3, fix="cut it")

    assert str(error) == "a.csv: `t` (=3) is too long; cut it"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InputError("is odd"), "is odd"),
        (InputError("is odd", field="t"), "`t` is odd"),
        (InputError("is odd", field="t", role="time", value=1), "`t` (time) (=1) is odd"),
        (InputError("is odd", value=""), "(='') is odd"),
        (InputError("is odd", value=0), "(=0) is odd"),
        (InputError("is odd", file="a", fix="mend it"), "a: is odd; mend it"),
    ],
)
def test_message_parts(error: InputError, message: str) -> None:
    """A part that is not known leaves no trace in the message, while a false value is shown."""
    assert message == str(error)


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [
        (WindtunnelError, 1),
        (InputError, 2),
        (ConfigError, 2),
        (DataError, 2),
        (ModelError, 2),
        (RunFolderError, 2),
        (UserCodeError, 2),
        (MeasurementError, 3),
        (MissingError, 4),
    ],
)
def test_exit_codes(kind: type[WindtunnelError], exit_code: int) -> None:
    """Every error of the tree ends a command with the code that the tree draws."""
    assert exit_code == kind("x").exit_code
    assert issubclass(kind, WindtunnelError)


def test_tree_is_drawn() -> None:
    """Every class of the module stands in the tree at its top, and none is missing here."""
    drawn = errors.__doc__ or ""
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and value.__module__ == "windtunnel.errors"
    }

    assert len(classes) == 9
    assert set() == {name for name in classes if name not in drawn}


def test_errors_travel() -> None:
    """An error keeps its message and parts on its way back from a worker process."""
    there = DataError("is odd", file="a.csv", field="t", value=3, fix="mend it")

    back = pickle.loads(pickle.dumps(there))  # noqa: S301  # our own bytes

    assert (DataError, str(there), "t", 3) == (type(back), str(back), back.field, back.value)


def test_nearest_names_close_ones() -> None:
    """A slip of the finger is answered with the name that was meant."""
    assert nearest("max_wiat", ["max_wait", "replicas"]) == "did you mean `max_wait`?"
    assert nearest("abcd", ["abce", "abcf"]) == "did you mean `abcf` or `abce`?"


@given(st.sets(st.text(alphabet="xyz", min_size=1), min_size=1))
def test_nearest_lists_all_else(known: set[str]) -> None:
    """Where nothing is close, every known name is listed, sorted."""
    assert "known: " + ", ".join(sorted(known)) == nearest("0123456789", known)
