"""Recorded traffic with late labels → who would have won, and when we would have known."""
