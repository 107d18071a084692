"""What clients do when an answer does not come."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from windtunnel.errors import ConfigError


@dataclass(frozen=True)
class Client:
    """How long clients wait, and how often they ask again.

    Every attempt has its own timeout. After a timeout, a refusal or a failure the client asks again, if it has asked no
    more often than `retries` times before and the budget has a token; a moment `backoff_s · 2^n · (1 − jitter · u)` later.
    The budget is a bucket that all clients share: every request puts in `budget_ratio` of a token, a retry takes one out
    (Finagle's `RetryBudget`; Envoy's `retry_budget` caps a share of what is active instead). A hedge is a second attempt
    that is sent while the first is still awaited; the first answer counts, the other attempt is given up.

    Args:
        timeout_s: how long an attempt is waited for; zero waits for ever.
        retries: attempts after the first, at most.
        backoff_s: before the first retry; doubles with each.
        backoff_max_s: the longest.
        jitter: the share of the back-off left to chance: 1 is what AWS calls full jitter.
        budget_ratio: tokens a request puts in.
        budget_burst: tokens the bucket holds at most, and at first; infinite where there is no budget.
        hedge_s: after how long a second attempt is sent; zero sends none.
        patience_s: mean of the exponential time after which a client goes away for good; zero stays.

    Raises:
        ConfigError: a negative or unbounded figure.

    Example:
        >>> Client(timeout_s=1.0, retries=2).retries
        2
    """

    timeout_s: float = 0.0
    retries: int = 0
    backoff_s: float = 0.1
    backoff_max_s: float = 10.0
    jitter: float = 0.0
    budget_ratio: float = 0.0
    budget_burst: float = math.inf
    hedge_s: float = 0.0
    patience_s: float = 0.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not 0.0 <= value < math.inf and not (each.name == "budget_burst" and value == math.inf):
                raise ConfigError("must be zero or more", field=each.name, value=value)
        if self.jitter > 1.0:
            raise ConfigError("is more than the whole back-off", field="jitter", value=self.jitter, fix="write 100%")
