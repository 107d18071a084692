"""Limits: what a server takes from strangers, and the refusal of what is beyond."""

from __future__ import annotations

from dataclasses import dataclass

from windtunnel.errors import ConfigError

NAN = ("refuse", "allow")
"""What may be done with inputs that are not finite."""


@dataclass(frozen=True)
class Limits:
    """What a server takes.

    Args:
        max_body_bytes: the longest body; a longer one is refused before it is read.
        max_json_bytes: the longest body without binary tensors: numbers as text are read in one piece, 40 ms a megabyte, by the loop that
            also serves.
        nan: `refuse` inputs that are NaN or infinite, or `allow` them, as a model must that takes NaN for a missing value.
        body_s: how long a body may take to come; it holds a place in the replica meanwhile.
        awaited: requests whose bodies a replica waits for at once, besides those that it has taken on: they take nobody's place.
        awaited_bytes: what longer bodies than `held_bytes` may take in a replica together; whoever comes with more is told to come again.
        held_bytes: bodies up to so long are held back by the ingress until they are whole, and need no clock here.

    Raises:
        ConfigError: a limit below one, or another word for `nan`.
    """

    max_body_bytes: int = 64 * 2**20
    nan: str = "refuse"
    body_s: float = 10.0
    held_bytes: int = 0
    awaited: int = 1000
    awaited_bytes: int = 2**28
    max_json_bytes: int = 4 * 2**20

    def __post_init__(self) -> None:
        for name, value in (
            ("max_body", self.max_body_bytes),
            ("max_json", self.max_json_bytes),
            ("body_s", self.body_s),
        ):
            if value <= 0:
                raise ConfigError("must be more than nothing", field=name, value=value)
        if self.nan not in NAN:
            raise ConfigError("is not known", field="nan", value=self.nan, fix="say refuse or allow")


class Refused(Exception):  # noqa: N818  # an answer, as urllib's HTTPError is; it ends no program
    """A request that gets an answer other than 200.

    Args:
        status: of HTTP.
        message: what is wrong, and the way out.
        headers: of the answer, besides the usual.
    """

    def __init__(self, status: int, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.status, self.message, self.headers = status, message, headers
        super().__init__(message)
