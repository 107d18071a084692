"""What a recording shows besides who would have won: late labels, estimates, drift, skew, decisions, arms, slices, flips, policies.

Every finding reads the same `Held` recording, says what it found as JSON values and as a part of the report, names what gives
reason to doubt the comparison, and offers what it said at each look to the leak test. `Findings` puts them beside the
comparison; none of them turns its verdict.
"""

from __future__ import annotations

from .decisions import OffPolicy, Selected
from .disagreements import Asked, Disagreements
from .estimates import Estimates
from .finding import Finding
from .findings import Findings
from .fitted import Fitted
from .held import Held
from .lateness import Lateness
from .measure_sums import MeasurePlan
from .measures import Measures
from .movement import Movement
from .policies import Policies, retrain, roll_out
from .sampled import Sampled, sampled
from .skewed import Skewed
from .sliced import Sliced
from .taken import Taken, recording_of
from .trial import Trial

__all__ = [
    "Asked",
    "Disagreements",
    "Estimates",
    "Finding",
    "Findings",
    "Fitted",
    "Held",
    "Lateness",
    "MeasurePlan",
    "Measures",
    "Movement",
    "OffPolicy",
    "Policies",
    "Sampled",
    "Selected",
    "Skewed",
    "Sliced",
    "Taken",
    "Trial",
    "recording_of",
    "retrain",
    "roll_out",
    "sampled",
]
