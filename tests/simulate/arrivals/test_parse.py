from __future__ import annotations

import pytest

from windtunnel.errors import ConfigError
from windtunnel.simulate.arrivals import (
    ARRIVALS,
    SERVICES,
    Gamma,
    Hawkes,
    Mmpp,
    Poisson,
    Population,
    RateCurve,
    ServiceLaw,
    Weekly,
    Weibull,
    parse,
    parse_service,
)

SAID = {
    "poisson(rate=900)": Poisson(900.0),
    "poisson( rate = 30/min )": Poisson(0.5),
    "gamma(rate=.5e3/s, cv=2)": Gamma(500.0, 2.0),
    "weibull(cv=2, rate=900)": Weibull(900.0, 2.0),
    "mmpp(rates=[100, 900], stays=[60s, 5s])": Mmpp((100.0, 900.0), (60.0, 5.0)),
    "hawkes(base=50, branching=0.5, decay=2)": Hawkes(RateCurve.constant(50.0), 0.5, 2.0),
    "diurnal(mean=900, swing=50%)": Weekly(900.0, 0.5),
    "weekly(mean=900, swing=0.4, weekend=0.3, peak=10h)": Weekly(900.0, 0.4, 0.3, 36_000.0),
    "ramp(from=100, to=900, over=10m)": RateCurve.ramp(100.0, 900.0, 600.0),
    "steps(rates=[1, 2], stays=[1s, 2m], cv=2)": RateCurve.steps((1.0, 2.0), (1.0, 120.0), cv=2.0),
    "closed-loop(users=50, think=1s, law=constant)": Population(50, 1.0, "constant"),
}


@pytest.mark.parametrize("text", SAID)
def test_arrivals_are_what_was_said(text: str) -> None:
    """Each word makes its process, with units and blanks as people write them."""
    assert SAID[text] == parse(text)


def test_every_word_is_tried_here() -> None:
    """No word of the language is without an example in these tests."""
    assert set(ARRIVALS) == {text.partition("(")[0] for text in SAID}
    assert set(SERVICES) == {text.partition("(")[0] for text in SERVED}


SERVED = {
    "affine(base=1ms, per_item=0.4ms)": ServiceLaw("deterministic", 0.001, 0.0004),
    "deterministic(mean=2ms)": ServiceLaw("deterministic", 0.002),
    "exponential(mean=1ms)": ServiceLaw("exponential", 0.001, cv=1.0),
    "gamma(mean=1ms, cv=0.5)": ServiceLaw("gamma", 0.001, cv=0.5),
    "lognormal(base=1ms, per_item=1ms, cv=2)": ServiceLaw("lognormal", 0.001, 0.001, 2.0),
}


@pytest.mark.parametrize("text", SERVED)
def test_services_are_what_was_said(text: str) -> None:
    """Each word makes its law; a mean is a base that no item adds to."""
    assert SERVED[text].base_s == pytest.approx(parse_service(text).base_s)
    assert SERVED[text].table(3, 16) == pytest.approx(parse_service(text).table(3, 16))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("poisson", "is not understood; write poisson"),
        ("__import__('os').system('true')", "is not known"),
        ("poison(rate=900)", "did you mean `poisson`"),
        ("poisson(900)", "is not `name=value`"),
        ("poisson(rte=900)", "did you mean `rate`"),
        ("poisson(rate=9x)", "it is a rate per second, such as 900, or 30/min"),
        ("poisson(rate=[9])", "is a list; it is a rate per second"),
        ("poisson(rate=1, rate=2)", "is given twice"),
        ("poisson()", "needs `rate`"),
        ("poisson(rate=-1)", "must be above zero; poisson has rate: a rate per second, such as 900"),
        ("mmpp(rates=3, stays=[1s])", "is not a list; it is rates per second"),
        ("mmpp(rates=[1, 2], stays=[1, 2])", "it is durations, such as"),
        ("mmpp(rates=[1, 2], stays=[1s])", "need one stay a rate"),
        ("steps(rates=[1,2, stays=[1s,2s])", "is not `name=value`"),
        ("hawkes(base=1, branching=1.5, decay=1)", "grows without bound"),
        ("closed-loop(users=0, think=1s)", "must be at least 1"),
        ("closed-loop(users=1.5, think=1s)", "a whole number, such as 50"),
        ("closed-loop(users=5, think=1s, law=slow)", "is no law of times"),
        ("diurnal(mean=3, swing=7)", "it is a share"),
    ],
)
def test_errors_name_the_piece_and_the_way_out(text: str, problem: str) -> None:
    """What cannot be read is refused with the piece, what may stand there, and the nearest right name; nothing is run."""
    with pytest.raises(ConfigError) as refused:
        parse(text)

    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("exponential(mean=0s)", "must be above zero"),
        ("affine(base=0s, per_item=0s)", "give base=1ms"),
        ("exponential()", "must be above zero"),
        ("gamma(mean=1ms)", "needs `cv`"),
        ("gamma(mean=1ms, cv=0)", "is outside 0.01 to 30"),
        ("lognormal(mean=1ms, base=2ms, cv=1)", "say the same twice"),
        ("affine(base=1, per_item=2ms)", "it is a duration, such as 10m"),
        ("normal(mean=1ms)", "did you mean `lognormal`"),
    ],
)
def test_services_that_no_server_has_are_refused(text: str, problem: str) -> None:
    """A service time of nothing, of two means or of an unknown law is refused with the way out."""
    with pytest.raises(ConfigError) as refused:
        parse_service(text)

    assert problem in str(refused.value)
