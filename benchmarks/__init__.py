"""Variant → LatencyProfile and cost: measured, with an interval and a verdict."""
