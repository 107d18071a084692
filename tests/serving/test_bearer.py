"""The token file: private, one line, long enough; and who carries it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from windtunnel.errors import ConfigError
from windtunnel.serving.bearer import carries, read_token

if TYPE_CHECKING:
    from pathlib import Path


def test_a_private_file(tmp_path: Path) -> None:
    """A file that only its owner may read holds a token; the line's end is none of it."""
    path = tmp_path / "token"
    path.write_text("0123456789abcdef\n")
    path.chmod(0o600)

    assert read_token(path) == "0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "mode", "needle"),
    [
        ("0123456789abcdef", 0o644, "chmod 600"),
        ("0123456789abcdef", 0o640, "chmod 600"),
        ("short", 0o600, "at least 16"),
        ("0123456789abcdef two words", 0o600, "at least 16"),
        ("", 0o600, "at least 16"),
        ("é" * 16, 0o600, "cannot be read"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, mode: int, needle: str) -> None:
    """A file that others may read, or that holds no token, is refused with the way out."""
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(mode)

    with pytest.raises(ConfigError, match=needle):
        read_token(path)


def test_no_file(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(ConfigError, match=r"--token-file.*cannot be read"):
        read_token(tmp_path / "none")


@pytest.mark.parametrize(
    ("header", "held"),
    [(b"Bearer s3cret", True), (b"bearer  s3cret ", True), (b"Bearer s3cre", False), (b"s3cret", False), (b"", False)],
)
def test_who_carries_it(header: bytes, held: bool) -> None:
    """The scheme's case and spaces do not matter; the token's every letter does."""
    assert carries(header, "s3cret") is held
