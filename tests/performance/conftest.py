"""What is not collected here."""

from __future__ import annotations

collect_ignore = ["serving_litserve.py", "serving_mosec.py"]
"""These are imported in environments of their own."""
