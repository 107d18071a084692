from __future__ import annotations

import json

from windtunnel.report.section import Figure, Section, Table


def test_round_trip() -> None:
    """A section comes back from JSON as it was, tables, figures and notes too."""
    section = Section(
        "Optimize",
        "go",
        ("int8 is 2.1 times as fast.",),
        (
            Table("Variants", ("name", "p50 (ms)"), (("fp32", "2.0"), ("int8", "1.0"))),
            Table("Short", ("a", "b"), (), ("a",)),
            Table("Not in a terminal", ("a",), (), ()),
        ),
        (Figure("Latency", {"data": [{"x": [1, 2], "y": [3.5, 4.0]}], "layout": {"title": "é"}}),),
        ("Measured in 20 blocks.",),
    )

    assert section == Section.from_dict(json.loads(json.dumps(section.to_dict())))


def test_bare_round_trip() -> None:
    """A section without tables, figures and notes comes back without them."""
    section = Section("Simulate", "inconclusive", ())

    assert section == Section.from_dict(json.loads(json.dumps(section.to_dict())))
