from __future__ import annotations

import pytest

from windtunnel.benchmarks.power import Power, energy_use, rated_powers
from windtunnel.energy import Energy
from windtunnel.errors import ConfigError
from windtunnel.price import find_price


def test_co2_needs_a_grid() -> None:
    """Without a grid intensity there is energy and no CO₂: nobody's default is right elsewhere."""
    use = energy_use(Power(50.0, "specified", "a box"), 0.002)

    assert use.joules_per_request == pytest.approx(0.1)
    assert use.kwh_per_million == pytest.approx(0.1 / 3.6)
    assert use.co2_g_per_million is None
    assert use.to_dict()["co2_g_per_million"] is None


def test_a_projection_is_as_unsure_as_its_band() -> None:
    """Busy seconds that may be half as long again may take half as much again."""
    document = energy_use(Power(50.0, "rated", "a card"), 0.002, band=1.5).to_dict()

    assert (document["joules_per_request_low"], document["joules_per_request_high"]) == pytest.approx((0.1 / 1.5, 0.15))


def test_measured_energy_is_its_mean_power() -> None:
    """600 J in a minute are 10 W, measured."""
    assert Power.drawn(Energy(600.0, 60.0, "measured", "package-0")) == Power(10.0, "measured", "package-0")


def test_rated_power_is_the_accelerators() -> None:
    """A machine with an accelerator is rated by it, and says that its host is not in it; one without is not rated."""
    powers = rated_powers([find_price("aws:g5.xlarge"), find_price("aws:m5.xlarge")])

    assert set(powers) == {"aws:g5.xlarge"}
    assert (powers["aws:g5.xlarge"].watts, powers["aws:g5.xlarge"].basis) == (150.0, "rated")
    assert "without its host" in powers["aws:g5.xlarge"].what


def test_refusals() -> None:
    """No power and no grid intensity below zero."""
    with pytest.raises(ConfigError, match="`power_w`"):
        Power(0.0, "specified", "a box")
    with pytest.raises(ConfigError, match="`grid_g_per_kwh`"):
        energy_use(Power(1.0, "specified", "a box"), 0.1, grid_g_per_kwh=-1.0)
