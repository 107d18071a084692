from __future__ import annotations

import numpy as np

from windtunnel.stats import ratio_interval
from windtunnel.timings import Timings


def _timings() -> Timings:
    rng = np.random.default_rng(3)
    drift = rng.uniform(1.0, 3.0, size=12)
    return Timings(
        {
            (name, batch): tuple(scale * batch * slow * np.exp(0.02 * rng.normal(size=31)) for slow in drift)
            for name, scale in (("parent", 2e-3), ("child", 1e-3))
            for batch in (1, 4)
        },
        {},
    )


def test_drift_cancels_in_pairs() -> None:
    """A machine that slows to a third leaves the speed-up of sessions measured side by side alone."""
    speedup = _timings().speedup("parent", "child", 4)

    assert speedup.low <= 2.0 <= speedup.high
    assert speedup.high - speedup.low < 0.05


def test_medians_and_samples() -> None:
    """Samples are joined in order of measurement; medians are one a block."""
    timings = Timings({("a", 1): (np.array([3.0, 1.0, 2.0]), np.array([5.0, 4.0]))}, {("a", 1): True})

    assert timings.samples_s("a", 1).tolist() == [3.0, 1.0, 2.0, 5.0, 4.0]
    assert timings.medians_s("a", 1).tolist() == [2.0, 4.5]


def test_mean_speedup_is_geometric() -> None:
    """Over several batch sizes the speed-up is the geometric mean, block by block."""
    timings = _timings()
    each = [timings.medians_s("parent", b) / timings.medians_s("child", b) for b in (1, 4)]
    expected = ratio_interval(np.sqrt(each[0] * each[1]), np.ones(12))

    assert np.allclose(
        list(expected.to_dict("x").values()),
        list(timings.mean_speedup("parent", "child", (1, 4)).to_dict("x").values()),
    )
