"""The little language of arrivals and service times: `mmpp(rates=[100, 900], stays=[60s, 5s])`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError, nearest
from windtunnel.quantity import parse_duration, parse_share
from windtunnel.simulate.population import Population

from .calendar import Weekly
from .curve import RateCurve
from .gamma import Gamma
from .hawkes import Hawkes
from .mmpp import Mmpp
from .poisson import Poisson
from .service import ServiceLaw
from .weibull import Weibull

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .generator import Generator

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_PER_S = {"": 1.0, "/s": 1.0, "/min": 1.0 / 60.0, "/m": 1.0 / 60.0, "/h": 1.0 / 3600.0, "/d": 1.0 / 86400.0}


def _rate(text: str) -> float:
    match = _NUMBER.match(text)
    if match is None or text[match.end() :].strip() not in _PER_S:
        raise ConfigError("is not a rate", value=text)
    return float(match[0]) * _PER_S[text[match.end() :].strip()]


def _number(text: str) -> float:
    if _NUMBER.fullmatch(text) is None:
        raise ConfigError("is not a number", value=text)
    return float(text)


def _count(text: str) -> int:
    if re.fullmatch(r"[0-9]+", text) is None:
        raise ConfigError("is not a whole number", value=text)
    return int(text)


@dataclass(frozen=True)
class _Kind:
    """What may stand behind an equals sign."""

    read: Callable[[str], Any]
    says: str
    many: bool = False


_RATE = _Kind(_rate, "a rate per second, such as 900, or 30/min")
_RATES = _Kind(_rate, "rates per second, such as [100, 900]", many=True)
_TIME = _Kind(parse_duration, "a duration, such as 10m")
_TIMES = _Kind(parse_duration, "durations, such as [60s, 5s]", many=True)
_PLAIN = _Kind(_number, "a number, such as 2")
_WHOLE = _Kind(_count, "a whole number, such as 50")
_SHARE = _Kind(parse_share, "a share, such as 0.5 or 50%")
_LAW = _Kind(str, "exponential or constant")


@dataclass(frozen=True)
class _Form:
    """One word of the language: what it builds, what it needs, what it may have."""

    build: Callable[..., Any]
    needs: Mapping[str, _Kind]
    may: Mapping[str, _Kind]

    def __str__(self) -> str:
        shown = [f"{name}: {kind.says}" for name, kind in self.needs.items()]
        return "; ".join(shown + [f"{name} (may be left out): {kind.says}" for name, kind in self.may.items()])


def _of(made: Callable[..., Any], **fields: str) -> Callable[..., Any]:
    """Call with the words of the language under the names of the fields."""
    return lambda **given: made(**{fields.get(word, word): value for word, value in given.items()})


def _hawkes(base: float, branching: float, decay: float) -> Hawkes:
    return Hawkes(RateCurve.constant(base), branching, decay)


def _ramp(over: float, cv: float = 1.0, **ends: float) -> RateCurve:
    return RateCurve.ramp(ends["from"], ends["to"], over, cv)


def _diurnal(mean: float, swing: float = 0.5, peak: float = 50_400.0) -> Weekly:
    return Weekly(mean, swing, 1.0, peak)


def _weekly(mean: float, swing: float = 0.5, weekend: float = 0.5, peak: float = 50_400.0) -> Weekly:
    return Weekly(mean, swing, weekend, peak)


_ARRIVALS: Mapping[str, _Form] = {
    "poisson": _Form(_of(Poisson, rate="rate_per_s"), {"rate": _RATE}, {}),
    "gamma": _Form(_of(Gamma, rate="rate_per_s"), {"rate": _RATE, "cv": _PLAIN}, {}),
    "weibull": _Form(_of(Weibull, rate="rate_per_s"), {"rate": _RATE, "cv": _PLAIN}, {}),
    "mmpp": _Form(_of(Mmpp, rates="rates_per_s", stays="mean_stays_s"), {"rates": _RATES, "stays": _TIMES}, {}),
    "hawkes": _Form(_hawkes, {"base": _RATE, "branching": _PLAIN, "decay": _RATE}, {}),
    "diurnal": _Form(_diurnal, {"mean": _RATE}, {"swing": _SHARE, "peak": _TIME}),
    "weekly": _Form(_weekly, {"mean": _RATE}, {"swing": _SHARE, "weekend": _PLAIN, "peak": _TIME}),
    "ramp": _Form(_ramp, {"from": _RATE, "to": _RATE, "over": _TIME}, {"cv": _PLAIN}),
    "steps": _Form(
        lambda rates, stays, cv=1.0: RateCurve.steps(rates, stays, cv),
        {"rates": _RATES, "stays": _TIMES},
        {"cv": _PLAIN},
    ),
    "closed-loop": _Form(
        _of(Population, think="think_s"), {"users": _WHOLE, "think": _TIME}, {"law": _LAW, "seconds": _TIME}
    ),
}

_MEAN = {"mean": _TIME, "base": _TIME, "per_item": _TIME}


def _law(kind: str) -> Callable[..., ServiceLaw]:
    """A law from `mean=`, the same for any batch, or from `base=` and `per_item=`."""

    def build(mean: float | None = None, base: float = 0.0, per_item: float = 0.0, cv: float = 0.0) -> ServiceLaw:
        if mean is not None and (base or per_item):
            raise ConfigError("and `base` or `per_item` say the same twice", field="mean", fix="give one of them")
        return ServiceLaw(kind, base if mean is None else mean, per_item, 1.0 if kind == "exponential" else cv)

    return build


_SERVICES: Mapping[str, _Form] = {
    "affine": _Form(_law("deterministic"), {"base": _TIME, "per_item": _TIME}, {}),
    "deterministic": _Form(_law("deterministic"), {}, _MEAN),
    "exponential": _Form(_law("exponential"), {}, _MEAN),
    "gamma": _Form(_law("gamma"), {"cv": _PLAIN}, _MEAN),
    "lognormal": _Form(_law("lognormal"), {"cv": _PLAIN}, _MEAN),
}

ARRIVALS, SERVICES = tuple(_ARRIVALS), tuple(_SERVICES)
"""The words of the language."""


def parse(text: str) -> Generator | Population:
    """Read arrivals, such as `poisson(rate=900)` or `steps(rates=[100, 900], stays=[10m, 1m])`.

    Raises:
        ConfigError: another form, an unknown name, a missing one, or a value that it cannot have.

    Example:
        >>> print(parse("mmpp(rates=[100, 900], stays=[60s, 5s])"))
        mmpp(rates=[100, 900], stays=[60s, 5s])
        >>> parse("poison(rate=900)")
        Traceback (most recent call last):
        windtunnel.errors.ConfigError: `arrivals` (='poison') is not known; did you mean `poisson`?
    """
    made: Generator | Population = _read(text, _ARRIVALS, "arrivals", "poisson(rate=900)")
    return made


def parse_service(text: str) -> ServiceLaw:
    """Read a law of service times, such as `affine(base=1ms, per_item=0.4ms)` or `lognormal(mean=5ms, cv=0.5)`.

    Raises:
        ConfigError: another form, an unknown name, a missing one, or a value that it cannot have.

    Example:
        >>> parse_service("affine(base=1ms, per_item=0.4ms)").mean_s(8)
        0.0042
    """
    law: ServiceLaw = _read(text, _SERVICES, "service", "affine(base=1ms, per_item=0.4ms)")
    return law


def _read(text: str, forms: Mapping[str, _Form], field: str, example: str) -> Any:
    match = re.fullmatch(r"\s*([a-zA-Z_-]+)\s*\((.*)\)\s*", text, flags=re.DOTALL)
    if match is None:
        known = ", ".join(forms)
        raise ConfigError("is not understood", field=field, value=text, fix=f"write {example}; known: {known}")
    name, inside = match[1], match[2]
    if name not in forms:
        raise ConfigError("is not known", field=field, value=name, fix=nearest(name, forms))
    form = forms[name]
    given = {key: _value(name, key, value, form) for key, value in _pieces(name, inside, form)}
    missing = [key for key in form.needs if key not in given]
    if missing:
        raise ConfigError(f"needs `{missing[0]}`", field=field, value=text, fix=f"{name} has {form}")
    try:
        return form.build(**given)
    except ConfigError as error:
        fix = error.fix or f"{name} has {form}"
        raise ConfigError(error.problem, field=error.field, value=error.value, fix=fix) from error


def _pieces(name: str, inside: str, form: _Form) -> list[tuple[str, str]]:
    """The `key=value` between the commas that are in no bracket."""
    pieces = [piece.strip() for piece in re.split(r",(?![^\[]*\])", inside)] if inside.strip() else []
    found: list[tuple[str, str]] = []
    for piece in pieces:
        key, equals, value = (part.strip() for part in piece.partition("="))
        if not equals or not key or not value:
            raise ConfigError("is not `name=value`", field=name, value=piece, fix=f"{name} has {form}")
        if key in dict(found):
            raise ConfigError("is given twice", field=f"{name}({key}=…)", value=value, fix="give it once")
        found.append((key, value))
    return found


def _value(name: str, key: str, text: str, form: _Form) -> Any:
    kinds = {**form.needs, **form.may}
    if key not in kinds:
        raise ConfigError("is not known", field=f"{name}({key}=…)", fix=f"{nearest(key, kinds)}; {name} has {form}")
    kind = kinds[key]
    listed = text.startswith("[") and text.endswith("]")
    field, fix = f"{name}({key}=…)", f"it is {kind.says}"
    if listed != kind.many:
        raise ConfigError("is a list" if listed else "is not a list", field=field, value=text, fix=fix)
    try:
        if not kind.many:
            return kind.read(text)
        return tuple(kind.read(each.strip()) for each in text[1:-1].split(","))
    except ConfigError as error:
        raise ConfigError(error.problem, field=field, value=text, fix=fix) from error
