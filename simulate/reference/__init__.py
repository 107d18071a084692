"""The event loop once more, in plain Python: slow, and there to be checked by eye.

`kernel.py` is fast and hard to read; this tells the same story with objects, and a test holds the two equal request by
request. It shares no line with the kernel: not its calendar, not its queues, not its generator of random numbers, and of
every policy it asks the twin in plain Python. What it takes are settings.

    calendar    what will happen, and in which order at one instant
    request     a request, and the attempts at it
    clients     who sends them, gives up on them, and asks again
    proxy       what they pass on their way
    router      who finds them a station
    station     who batches and serves them
    shelf       which models a station has at hand
    scaling     who says how many stations there are
    flight      all of these together
"""

from .flight import SlowFlight, Totals, fly_slowly
from .luck import mix, uniform
from .one_queue import serve_slowly

__all__ = ["SlowFlight", "Totals", "fly_slowly", "mix", "serve_slowly", "uniform"]
