"""Garbage: Python looks for it in a replica while everybody waits, and finds none."""

from __future__ import annotations

import gc

SELDOM = 1000
"""Of so many looks at what outlived its youth, one is at everything (10 by default)."""


def look_seldom() -> None:
    """Leave out of every collection what is there by now, and look at the rest seldom.

    In a replica of Ray Serve 150,000 objects live as long as the process does, and a look at all of them took 89 ms (Python 3.11, Ray
    2.60). After an overload uvicorn (0.54) keeps 22 objects of every connection that was reset until its keep-alive is over, 90 s: looks at
    those of 14,000 connections took 250 ms, came twice a second, and found nothing. What serves a request makes no cycles but in
    errors, and those are found while they are young.
    """
    young, old, _ = gc.get_threshold()
    gc.set_threshold(young, old, SELDOM)
    gc.collect()
    gc.freeze()
