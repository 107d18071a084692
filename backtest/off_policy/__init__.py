"""What another policy would have earned, from decisions that were logged with their probabilities.

`Logged` checks the columns, `Overlap` says how far they carry, `ips`, `snips` and `doubly_robust` estimate with an
interval, and `SelectiveLabels` warns where outcomes are known only for what was acted on.
"""

from __future__ import annotations

from .estimator import doubly_robust, ips, mean_of, snips
from .logged import Logged
from .overlap import Overlap
from .reward_model import guess_rewards
from .selective import SelectiveLabels

__all__ = ["Logged", "Overlap", "SelectiveLabels", "doubly_robust", "guess_rewards", "ips", "mean_of", "snips"]
