"""The bearer token: who may ask a server that others can reach."""

from __future__ import annotations

import hmac
import re
import stat
from typing import TYPE_CHECKING

from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SHORTEST = 16
"""Fewer characters than so many can be guessed."""


def read_token(path: Path) -> str:
    """Read the token that requests must carry as `Authorization: Bearer …`.

    Raises:
        ConfigError: no file, one that others may read, or not one line of at least 16 visible ASCII characters.
    """
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", field="--token-file", value=str(path)) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"may be read by others (mode {stat.S_IMODE(mode):o})",
            file=path,
            field="--token-file",
            fix=f"chmod 600 {path}",
        )
    if not re.fullmatch(rf"[!-~]{{{SHORTEST},4096}}", text):
        raise ConfigError(
            f"must hold one token of at least {SHORTEST} visible characters", file=path, field="--token-file",
            fix="openssl rand -hex 32 writes one",
        )  # fmt: skip
    return text


def carries(authorization: bytes, token: str) -> bool:
    """Whether a header `Authorization` carries the token; takes as long for a nearly right one as for a wrong one.

    Example:
        >>> carries(b"Bearer 0123456789abcdef", "0123456789abcdef"), carries(b"Basic 0123456789abcdef", "0123456789abcdef")
        (True, False)
    """
    scheme, _, told = authorization.partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(told.strip(), token.encode())
