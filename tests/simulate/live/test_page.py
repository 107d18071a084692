"""Locust's live page shows what generators send."""

from __future__ import annotations

import json
import re
import urllib.request
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.request_log import COMPLETED
from windtunnel.simulate.live import drive

if TYPE_CHECKING:
    from windtunnel.simulate.live.drive import Progress


def test_the_page_counts_what_is_sent(nothing: Any, planned: Any) -> None:
    """Both generators report to the one page, whose count of requests is ours; the run is as without it."""
    said: list[str] = []
    pages: list[dict[str, Any]] = []

    def look(progress: Progress) -> None:
        url = re.search(r"http://\S+", said[0])
        if progress.at_s > 3.3 and len(pages) < 1 and url is not None:
            with urllib.request.urlopen(f"{url[0]}/stats/requests") as answer:  # noqa: S310  # loopback
                pages.append(json.load(answer))

    with nothing() as url:
        times_s = np.sort(np.random.default_rng(0).uniform(0.0, 4.0, 120))
        run = drive(*planned(url, times_s), generators=2, capacity_per_s=1e6, web=True, watch=look, say=said.append)

    assert (run.log.status == COMPLETED).all()
    assert len(run) == 120
    (page,) = pages
    assert page["user_count"] == 2
    counted = {each["name"]: each["num_requests"] for each in page["stats"]}
    assert 0 < counted["infer"] <= 120
