"""Evidence that survives being looked at every day.

Values are differences of loss, candidate − incumbent, in the order in which they became known: of blocks (days) or of rows, of
any loss at all. A `Sequence` bounds their mean and weighs claims about it, at every look at once: `Asymptotic` for
blocks of any loss, `Bernstein` and `Betting` exactly for bounded ones, `McNemar` for rows that are right or wrong. `Claims`
says what is settled and since when, `e_bh` which of many candidates are discoveries, `BlockLength` how long a block must be,
`wait` how many more would decide, `placebo_rate` whether the method keeps its word on this noise, and `ab_test`
what two arms in a recording show, if their split can be trusted; `Units` are those that come back.
"""

from __future__ import annotations

from .ab_test import AbTest, ab_test
from .arms import Arms
from .asymptotic import Asymptotic
from .bernstein import Bernstein
from .betting import Betting
from .block_length import BlockLength, merge
from .bounded import Bounded
from .carry_over import carry_over
from .claim import Claim, Claims
from .e_bh import e_bh
from .mcnemar import McNemar, discordant
from .placebo import placebo_rate
from .sample_ratio import SampleRatio
from .sequence import Sequence, apart
from .units import Units
from .wait import Wait, wait

__all__ = [
    "AbTest",
    "Arms",
    "Asymptotic",
    "Bernstein",
    "Betting",
    "BlockLength",
    "Bounded",
    "Claim",
    "Claims",
    "McNemar",
    "SampleRatio",
    "Sequence",
    "Units",
    "Wait",
    "ab_test",
    "apart",
    "carry_over",
    "discordant",
    "e_bh",
    "merge",
    "placebo_rate",
    "wait",
]
