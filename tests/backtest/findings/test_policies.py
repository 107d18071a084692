from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.backtest.findings import Policies, retrain, roll_out
from windtunnel.backtest.policy import Prices, Rollout, Schedule, Trainer
from windtunnel.errors import ConfigError
from windtunnel.recording import Recording

from .conftest import DAY_US
from .test_fitted import FIT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from windtunnel.backtest.findings import Held

PRICES = Prices(usd_per_loss=1.0, usd_per_training=1.0)


def test_rollouts_in_both_worlds(make_held: Callable[..., Held]) -> None:
    """A rollout stands beside staying and going all in; with the places swapped, all in is worth as much less."""
    held, careful = make_held(60), Rollout.careful(tolerance=0.05)
    worth = {}
    for worlds in (("recorded",), ("recorded", "swapped")):
        choice = roll_out(held, "new", [careful], PRICES, np.random.default_rng(0), by_entity=False, worlds=worlds)
        worth[worlds] = {account.name: account.value_usd for account in choice.accounts}

    assert set(worth["recorded",]) == {"stay", "at once", "careful"}
    assert worth["recorded",]["at once"] > worth["recorded",]["stay"] == 0.0
    assert worth["recorded", "swapped"]["at once"] == pytest.approx(0.0, abs=1e-9)


def test_retraining(make_held: Callable[..., Held], tmp_path: Path) -> None:
    """A schedule is priced beside never training again, and both kinds of policy stand in one part of the report."""
    held = make_held(60)
    (tmp_path / "own.py").write_text(FIT)
    trainer = Trainer("own.py:fit", tmp_path, 1)
    recording = Recording("made", held.columns)
    schedules = [Schedule("fortnightly", every_s=14 * 86400.0, training_s=60.0)]
    choice = retrain(held, recording, None, schedules, trainer, PRICES, np.random.default_rng(0), start_us=20 * DAY_US)
    found = Policies(None, choice, held.looks_us, "new")

    assert choice.account("fortnightly").total("trainings") == 2
    assert found.to_dict()["policies"]["rollout"] is None
    assert found.draw().sentences[0].startswith("Retraining: ")
    assert json.dumps(found.draw().to_dict(), allow_nan=False)
    with pytest.raises(ConfigError, match="leaves no look to serve"):
        retrain(held, recording, None, schedules, trainer, PRICES, np.random.default_rng(0), start_us=900 * DAY_US)
