"""What was measured of a server over the wire, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.report.section import Section, Table

from .section import server_table, with_reach

WHAT = (
    "A service time is a round trip of one request while no other is in flight: the way there and back, the server, its wait "
    "for company where it batches, and the model. A simulation with these times has the server in it."
)

if TYPE_CHECKING:
    from windtunnel.latency_profile import LatencyProfile


def draw_target(profile: LatencyProfile, *, generated: bool) -> Section:
    """Draw service times over the wire, and what the server costs.

    Args:
        profile: as `measure_target` gives it.
        generated: whether the inputs were made up.
    """
    inputs = "made up from the server's metadata (--data gives real ones)" if generated else "real rows"
    server = profile.server
    told, tables = ((server.sentence,), (server_table(server),)) if server is not None else ((), ())
    return Section(
        "Benchmark", profile.verdict.outcome, (*told, *profile.verdict.reasons), (_service_table(profile), *tables),
        notes=(
            f"Basis: measured on {profile.hardware}; {profile.runtime}; inputs: {inputs}.",
            WHAT,
        ),
    )  # fmt: skip


def _service_table(profile: LatencyProfile) -> Table:
    rows = tuple(
        (
            str(batch), *(with_reach(each) for each in profile.quantiles_s(batch, (0.5, 0.9, 0.99))),
            f"{profile.throughput_per_s(batch).value:,.0f}", str(len(profile.samples_s[index])),
        )
        for index, batch in enumerate(profile.batch_sizes)
    )  # fmt: skip
    return Table("Round trips (measured, ± 95%)", ("rows", "p50", "p90", "p99", "rows/s", "samples"), rows)
