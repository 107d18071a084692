"""A phrase names a policy and what is not usual about it: `ray-serve(blocking=true, max_wait=10ms)`."""

from __future__ import annotations

import math
import re
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from windtunnel.errors import ConfigError, nearest
from windtunnel.quantity import parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

Settings = TypeVar("Settings")

_PAIR = re.compile(r"\s*([a-z_]+)\s*=\s*(\[[^\]]*\]|[^,\[\]]+)\s*(?:,|$)")


def read_phrase(
    text: str, known: Mapping[str, type[Settings]], *, field: str, usual: Mapping[str, Any] | None = None
) -> Settings:
    """Build what a phrase says.

    A setting is spelled like the field, without the `_s` of seconds: those are durations such as `10ms`. Whole numbers, shares,
    `true` and `false`, and lists such as `[4, 8]` are read as the field's type asks.

    Args:
        text: a name, alone or with settings in brackets.
        known: what may be named.
        field: the option that the text was given to, for messages.
        usual: settings that hold where the phrase says nothing of them, where the named thing has them.

    Raises:
        ConfigError: another name or setting than there is, a value that cannot be read, or one that is refused.

    Example:
        >>> from windtunnel.simulate.routing import ROUTERS
        >>> read_phrase("power-of-two(cache=10s)", ROUTERS, field="--router")
        PowerOfTwo(cache_s=10.0)
    """
    match = re.fullmatch(r"\s*([a-z][a-z0-9-]*)\s*(?:\((.*)\))?\s*", text, re.DOTALL)
    if match is None or match[1] not in known:
        name = match[1] if match else text
        raise ConfigError("is not known", field=field, value=text, fix=nearest(name, known))
    made = known[match[1]]
    given = read_settings(match[2] or "", made, field=field)
    names = {each.name for each in fields(made)}  # type: ignore[arg-type]  # every policy is a dataclass
    return _build(made, {name: value for name, value in (usual or {}).items() if name in names} | given, field)


def read_settings(text: str, made: type[Any], *, field: str) -> dict[str, Any]:
    """The settings of a dataclass as they are spelled: `timeout=1s, retries=2`.

    Raises:
        ConfigError: a setting that it does not have, twice the same, or a value that cannot be read.
    """
    hints, spelled = get_type_hints(made), {_spelling(each.name): each.name for each in fields(made)}
    found: dict[str, Any] = {}
    at = 0
    while at < len(text.rstrip()):
        match = _PAIR.match(text, at)
        if match is None:
            raise ConfigError("is not a list of settings", field=field, value=text, fix="write name=value, name=value")
        name, at = spelled.get(match[1], ""), match.end()
        if not name:
            raise ConfigError(f"has no setting {match[1]}", field=field, value=text, fix=nearest(match[1], spelled))
        if name in found:
            raise ConfigError(f"says {match[1]} twice", field=field, value=text, fix="say it once")
        found[name] = _value(match[2].strip(), hints[name], name, field)
    return found


def build_from(text: str, made: type[Settings], *, field: str) -> Settings:
    """Build a dataclass from its settings alone.

    Raises:
        ConfigError: as `read_settings`, or a value that the dataclass refuses.

    Example:
        >>> from windtunnel.simulate.client import Client
        >>> build_from("timeout=1s, retries=2", Client, field="--client").timeout_s
        1.0
    """
    return _build(made, read_settings(text, made, field=field), field)


def _build(made: type[Settings], values: dict[str, Any], field: str) -> Settings:
    absent = [
        _spelling(each.name)
        for each in fields(made)  # type: ignore[arg-type]  # every policy is a dataclass
        if each.name not in values and each.default is MISSING and each.default_factory is MISSING
    ]
    if absent:
        raise ConfigError(f"needs {', '.join(absent)}", field=field, fix=f"write {absent[0]}=…")
    try:
        return made(**values)
    except ConfigError as error:
        raise ConfigError(
            error.problem, field=f"{field} ({_spelling(error.field)})", value=error.value, fix=error.fix
        ) from error


def _spelling(name: str) -> str:
    return name.removesuffix("_s")


def _value(text: str, hint: Any, name: str, field: str) -> Any:
    try:
        if str(hint).startswith("tuple"):
            inner = text.removeprefix("[").removesuffix("]").split(",")
            return tuple(_value(each.strip(), hint.__args__[0], name, field) for each in inner if each.strip())
        if hint is bool:
            return {"true": True, "false": False}[text]
        if hint is int:
            return int(text)
        if name.endswith("_s"):
            return math.inf if text == "inf" else parse_duration(text)
        if hint is float:
            # 125% is a number too, and what may be one only as a share refuses it itself
            return float(text[:-1]) / 100.0 if text.endswith("%") else float(text)
    except (KeyError, ValueError, ConfigError) as error:
        place = f"{field} ({_spelling(name)})"
        if isinstance(error, ConfigError):
            raise ConfigError(error.problem, field=place, value=text, fix=error.fix) from error
        says = {bool: "true or false", int: "a whole number"}.get(hint, "a number")
        raise ConfigError(f"is not {says}", field=place, value=text) from error
    return text
