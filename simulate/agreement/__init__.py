"""Agreement: how well the tunnel tells what happens on the road, on traces that no calibration has seen.

`observed` is what answers tell of a run, `survey` such runs at several loads in turns, `calibrate` reads stations off them and keeps
them as a `Road`, `stations` is the compiled loop that requests pass, `predict` sends a trace through it, `compare` sets both side by
side with intervals and a verdict, and `rehearse` does all that against a server.
"""

from __future__ import annotations

from .calibrate import calibrate
from .compare import Agreement, Gap, Part, compare
from .observed import Observed
from .place import Place
from .predict import Prediction, predict
from .rehearse import Rehearsal, Roadside, rehearse, scale
from .section import OUTCOMES, draw_agreement
from .survey import Survey

__all__ = [
    "OUTCOMES", "Agreement", "Gap", "Observed", "Part", "Place", "Prediction", "Rehearsal", "Roadside", "Survey", "calibrate", "compare",
    "draw_agreement", "predict", "rehearse", "scale",
]  # fmt: skip
