"""Gone: whoever asked has hung up, as far as the replica's server knows.

Ray Serve is told not to watch for that (`ingress.py`). Behind HAProxy a replica is served by uvicorn (0.54), whose `receive` is a method
of its view of the request: that says whether the connection is lost. Where `receive` is another's, nobody is ever gone, and Serve
watches as it does.
"""

from __future__ import annotations

from typing import Any

from windtunnel.serving.limits import Refused


def is_gone(receive: Any) -> bool:
    """Whether whoever asked has hung up.

    Args:
        receive: gives the request's messages, as ASGI has them; None where it came by no network.
    """
    return bool(getattr(getattr(receive, "__self__", None), "disconnected", False))


def read_on(receive: Any) -> None:
    """Let the server read on: it stops at a body of more than 64 KiB until it is asked again, and hears of no hanging up meanwhile.

    Args:
        receive: as above.
    """
    flow = getattr(getattr(receive, "__self__", None), "flow", None)
    if flow is not None:
        flow.resume_reading()


def gone() -> Refused:
    """What becomes of such a request; 499 is what nginx and Ray call that. A new one each time, as it keeps who raised it."""
    return Refused(499, "nobody waits for it any more")
