"""Recordings as teams really have them → canonical rows under two clocks, an account of what was wrong, and the training–serving skew.

`Ingest` reads: plain tables, windtunnel's own log, SageMaker captures, CloudEvents of KServe and Seldon, Databricks inference tables; in pieces, so
that no recording is too large. `Intake` counts what was odd and says by which rule it was handled. `compare_features` holds
features recomputed against those that were logged.
"""

from __future__ import annotations

from .feature_files import read_feature_table
from .formats import FORMATS, detect
from .ingest import Ask, Ingest
from .intake import Intake
from .roles import FeatureSource, LabelSource, Roles, Rules
from .skew import FeatureSkew, Skew, compare_features, from_table
from .user_names import UserNames, naming_inputs
from .versioned import rows_of

__all__ = [
    "FORMATS",
    "Ask",
    "FeatureSkew",
    "FeatureSource",
    "Ingest",
    "Intake",
    "LabelSource",
    "Roles",
    "Rules",
    "Skew",
    "UserNames",
    "compare_features",
    "detect",
    "from_table",
    "naming_inputs",
    "read_feature_table",
    "rows_of",
]
