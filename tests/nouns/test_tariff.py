from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.errors import ConfigError, DataError
from windtunnel.price import find_price
from windtunnel.tariff import SHIPPED, Edge, Instance, Serverless, parse_tariff, read_services, usd_per_million

if TYPE_CHECKING:
    from pathlib import Path

LAMBDA = Serverless(usd_per_request=0.20e-6, usd_per_gb_s=0.0000166667, memory_gb=0.5)
EDGE = "edge(purchase=500usd,lifetime=3y,power=15W,electricity=0.30usd/kWh)"
FUNCTION = "serverless(request=0.20usd/M, gb_s=0.0000166667usd, memory=2GiB)"


def test_per_million() -> None:
    """An hour at 1,000 requests a second is 3.6 million requests; what serves nothing costs without end."""
    assert usd_per_million(0.1008, 100.0) == pytest.approx(0.28)
    assert usd_per_million(1.006, 500.0) == pytest.approx(1.006 / 1.8)
    assert usd_per_million(1.0, 0.0) == math.inf


def test_instance() -> None:
    """A machine is paid on demand at its one price, or at its spot price with the range over the zones."""
    price = find_price("aws:m7i.large")
    ondemand, spot = Instance(price), Instance(price, spot=True)

    assert (ondemand.name, ondemand.usd_per_hour, ondemand.usd_per_hour_range) == (
        "aws:m7i.large",
        0.1008,
        (0.1008, 0.1008),
    )
    assert (spot.name, spot.usd_per_hour, spot.usd_per_hour_range) == ("spot(aws:m7i.large)", 0.0396, (0.0361, 0.0483))
    assert spot.usd_per_million(100.0) == pytest.approx(0.11)
    assert Instance(find_price("aws:m5.xlarge"), spot=True).usd_per_hour_range == (0.07044, 0.07044)
    with pytest.raises(ConfigError, match=r"\(='gcp:e2-standard-4'\) has no spot price"):
        Instance(find_price("gcp:e2-standard-4"), spot=True)


def test_edge_by_hand() -> None:
    """500 USD over 3 years of 8,766 hours are 1.9013 cents an hour; 15 W at 0.30 USD a kWh are 0.45 cents more."""
    box = Edge(purchase_usd=500.0, lifetime_years=3.0, power_w=15.0, usd_per_kwh=0.30)

    assert box.usd_per_hour == pytest.approx(0.0190128 + 0.0045, abs=1e-7)
    assert replace(box, utilisation=0.5).usd_per_hour == pytest.approx(0.0190128 + 0.00225, abs=1e-7)
    assert box.usd_per_hour_range == (box.usd_per_hour, box.usd_per_hour)
    assert box.usd_per_million(10.0) == pytest.approx(box.usd_per_hour / 0.036)


def test_serverless_by_hand() -> None:
    """AWS's own examples without the free tier: 3 M × 1 s at 512 MB, and 30 M × 200 ms at 128 MB."""
    assert 3 * LAMBDA.usd_per_million(1.0) == pytest.approx(3 * 0.20 + 1_500_000 * 0.0000166667)
    assert 30 * replace(LAMBDA, memory_gb=0.125).usd_per_million(0.2) == pytest.approx(
        30 * 0.20 + 750_000 * 0.0000166667
    )


def test_rounding_up() -> None:
    """Each request is rounded up on its own, a whole number of steps is not, and the least charge holds."""
    assert LAMBDA.billed_s(0.0121) == pytest.approx(0.013)
    assert LAMBDA.billed_s(0.003) == pytest.approx(0.003)
    assert LAMBDA.billed_s([0.0001, 0.0021]) == pytest.approx(0.002)
    assert replace(LAMBDA, minimum_s=0.1).billed_s([0.05, 0.1501]) == pytest.approx((0.1 + 0.151) / 2)
    assert replace(LAMBDA, billing_step_s=0.1).billed_s(0.101) == pytest.approx(0.2)


@given(
    st.lists(st.floats(1e-6, 100.0), min_size=1, max_size=20),
    st.sampled_from([0.001, 0.1]),
    st.sampled_from([0.0, 0.1]),
)
def test_never_billed_less_than_used(durations: list[float], step_s: float, minimum_s: float) -> None:
    """The bill covers the work, and exceeds the greater of it and the least charge by less than one step."""
    function = replace(LAMBDA, billing_step_s=step_s, minimum_s=minimum_s)
    used_s = float(np.mean(durations))
    most_s = float(np.mean(np.maximum(durations, minimum_s)))

    assert used_s - 1e-9 * max(1.0, used_s) <= function.billed_s(durations) <= most_s + step_s * (1 + 1e-6)


def test_cold_starts_are_paid() -> None:
    """One request in a hundred that takes two seconds longer adds 0.01 × 2 s × 0.5 GB-s to the mean bill."""
    warm, cold = LAMBDA.usd_per_million(0.05), LAMBDA.usd_per_million(0.05, cold_share=0.01, cold_start_s=2.0)

    assert cold - warm == pytest.approx(0.01 * 2.0 * 0.5 * 0.0000166667 * 1e6)


def test_processors_billed_apart() -> None:
    """Cloud Run bills processors beside memory: 2 vCPU and 4 GiB are 0.000048 + 0.00001 USD a second."""
    run = parse_tariff("gcp:run-2vcpu-4096MB")

    assert isinstance(run, Serverless)
    assert (run.vcpu, run.memory_gb) == (2.0, 4.0)
    assert run.usd_per_s == pytest.approx(0.000058)
    assert run.usd_per_million(0.25) == pytest.approx(0.40 + 0.3 * 0.000058 * 1e6)


def test_functions_by_name() -> None:
    """A function's size stands in its name; its processors follow from its memory, and its date from its source."""
    function = parse_tariff("aws:lambda-arm-1769MB")

    assert isinstance(function, Serverless)
    assert (function.name, function.vcpu, function.architecture) == ("aws:lambda-arm-1769MB", 1.0, "arm64")
    assert function.usd_per_gb_s == 0.0000133334
    assert function.date.startswith("undated")
    assert function.source


def test_machines_by_name() -> None:
    """An instance type is looked up in the catalogue, at its spot price where that is asked for."""
    assert parse_tariff(" aws:m7i.large ") == Instance(find_price("aws:m7i.large"))
    assert parse_tariff("spot(aws:g5.xlarge)") == Instance(find_price("aws:g5.xlarge"), spot=True)


def test_prices_of_ones_own() -> None:
    """A device and a function may be given in words, with units, and are named by those words."""
    box, function = parse_tariff(EDGE), parse_tariff(FUNCTION)

    assert box == Edge(500.0, 3.0, 15.0, 0.30, name=EDGE)
    assert function == Serverless(0.20e-6, 0.0000166667, 2.0, name=FUNCTION)
    assert parse_tariff(EDGE.replace("15W", "0.015kW").replace(")", ", utilisation=25%)")) == replace(
        box, name=EDGE.replace("15W", "0.015kW").replace(")", ", utilisation=25%)"), utilisation=0.25
    )  # fmt: skip
    fine = FUNCTION.replace("2GiB", "512MiB, vcpu_s=0.000024usd, vcpu=2, step=100ms, minimum=0.2s")
    assert parse_tariff(fine) == Serverless(0.20e-6, 0.0000166667, 0.5, 0.000024, 2.0, 0.1, 0.2, name=fine)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("aws:lambda-2048", r"\(='aws:lambda-2048'\) is not in the price catalogue"),
        ("aws:lambda", r"is no function whose price is known; did you mean `aws:lambda-2048MB`"),
        ("aws:lamda-2048MB", r"is no function whose price is known; did you mean `aws:lambda-2048MB`"),
        ("aws:lambda-64MB", r"\(='aws:lambda-64MB'\) is not sold in this size; 128MB to 10240MB are"),
        ("azure:functions-2048MB", "is not sold in this size; 128MB to 1536MB are"),
        ("aws:lambda-2vcpu-2048MB", "has as many processors as its memory brings; write aws:lambda-2048MB"),
        ("spot(aws:g5.xlrge)", r"did you mean .*`aws:g5\.xlarge`"),
        (EDGE.replace("500usd", "500"), r"`edge\(purchase\)` \(='500'\) is not understood; write 500usd"),
        (EDGE.replace("500usd", "500eur"), r"`edge\(purchase\)` \(='500eur'\) is not understood"),
        (EDGE.replace("500usd", "-500usd"), r"`edge\(purchase\)` \(='-500usd'\) is not understood"),
        (EDGE.replace("500usd", "0usd"), r"`edge\(purchase\)` \(=0\.0\) is not above zero"),
        (EDGE.replace("3y", "3"), r"`edge\(lifetime\)` \(='3'\) is not understood; write 3y"),
        (EDGE.replace("3y", "0y"), r"`edge\(lifetime\)` \(=0\.0\) is not above zero"),
        (EDGE.replace("power", "powr"), r"`edge\(powr\)` is not a setting; did you mean `power`"),
        (EDGE.replace("power=15W,", ""), r"`edge\(power\)` is missing; add power=15W"),
        (EDGE.replace(")", ",utilisation=2)"), r"`edge\(utilisation\)` \(='2'\) is outside 0 to 1"),
        (FUNCTION.replace("2GiB", "0GiB"), r"`serverless\(memory\)` \(=0\.0\) is not above zero"),
        (FUNCTION.replace("2GiB", "2GiB, step=5"), r"`serverless\(step\)` \(='5'\) is not a duration"),
        (FUNCTION.replace("2GiB", "2GiB, step=0"), r"`serverless\(step\)` \(=0\.0\) is not above zero"),
        (FUNCTION.replace("0.20usd/M", "1e999usd/M"), r"`serverless\(request\)` \(=inf\) is no price"),
        ("serverless()", r"`serverless\(request\)` is missing; add request=0\.20usd/M"),
    ],
)  # fmt: skip
def test_refused(text: str, problem: str) -> None:
    """What is not sold, misspelt, without its unit or out of range is refused, with the setting and the way out."""
    with pytest.raises(ConfigError, match=problem):
        parse_tariff(text)


def test_given_in_code() -> None:
    """Figures that cannot be are refused also where they come from code."""
    with pytest.raises(ConfigError, match=r"edge\(utilisation\).*outside 0 to 1"):
        Edge(500.0, 3.0, 15.0, 0.3, utilisation=1.5)
    with pytest.raises(ConfigError, match=r"edge\(electricity\).*zero or more"):
        Edge(500.0, 3.0, 15.0, -0.3)
    with pytest.raises(ConfigError, match=r"serverless\(gb_s\).*zero or more"):
        Serverless(0.0, -1e-6, 1.0)


def test_shipped_services() -> None:
    """Every shipped serverless price names its source and its date."""
    services = read_services()

    assert set(services) == {"aws:lambda", "aws:lambda-arm", "azure:functions", "gcp:run"}
    assert [name for name, each in services.items() if not (each.template.source and each.template.date)] == []


def test_malformed_services(tmp_path: Path) -> None:
    """A table of serverless prices without a column, with a figure that is none, or an offer twice is refused."""
    whole, path = SHIPPED.read_text(), tmp_path / "serverless.csv"
    cases = {
        r"`usd_per_gb_s` is not a column": whole.replace("usd_per_gb_s", "gb_s"),
        r"`usd_per_gb_s` \(='-1'\) is not a figure of zero or more \(row at line 2\)": whole.replace(
            "0.0000166667", "-1", 1
        ),
        r"`usd_per_gb_s` \(=''\) is empty": whole.replace("0.0000166667", "", 1),
        r"`billing_step_s` \(='0'\) is not above zero": whole.replace(",0.001,0.001,", ",0,0.001,", 1),
        r"\(='aws:lambda'\) stands twice": whole + whole.splitlines()[1] + "\n",
    }
    for problem, text in cases.items():
        path.write_text(text)
        with pytest.raises(DataError, match=problem):
            read_services(path)
