from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from windtunnel.backtest.reading import (
    Ask,
    FeatureSource,
    Ingest,
    Roles,
    compare_features,
    from_table,
    read_feature_table,
)
from windtunnel.backtest.reading.skew import draw
from windtunnel.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2024, 1, 1, tzinfo=UTC)


def logged(**features: Any) -> pl.DataFrame:
    """Canonical rows with features."""
    n = len(next(iter(features.values())))
    return pl.DataFrame({"id": [f"r{i}" for i in range(n)], "first": [True] * n, **features})


def test_numbers() -> None:
    """Shares, sizes, bias and the worst rows are those of the definition; what is within the tolerance is equal."""
    ours = [1.0, 2.0, 3.0, None, 5.0, float("nan"), 7.0]
    theirs = [1.0 + 1e-9, 2.5, 1.0, 4.0, None, None, 7.0]
    skew = compare_features([logged(km=ours)], lambda _: pl.DataFrame({"km": theirs}), ["km"])
    found = skew.features[0]

    assert (found.rows, found.differing, found.logged_only, found.recomputed_only) == (7, 2, 1, 1)
    assert found.share == pytest.approx(4 / 7)
    assert found.bias == pytest.approx((0.5 - 2.0) / 4, abs=1e-9)
    assert found.mean_size == pytest.approx(2.5 / 4, abs=1e-9)
    assert found.greatest == 2.0
    assert found.spread == pytest.approx(np.std([1, 2, 3, 5, 7], ddof=1))
    assert [(each.id, each.logged, each.recomputed, each.size) for each in found.worst] == [
        ("r2", 3.0, 1.0, 2.0),
        ("r1", 2.0, 2.5, 0.5),
    ]


def test_text_and_switches() -> None:
    """Text differs or does not; true and 1 are the same."""
    rows = logged(place=["JFK", "LGA", None], on=[True, False, True])
    again = pl.DataFrame({"place": ["JFK", "lga", "EWR"], "on": [1, 0, 0]})
    place, on = compare_features([rows], lambda _: again, ["place", "on"]).features

    assert (place.name, place.differing, place.recomputed_only) == ("place", 1, 1)
    assert np.isnan(place.greatest)
    assert (on.differing, on.greatest) == (1, 1.0)


def test_pieces_add_up() -> None:
    """The figures do not hang on how the rows were cut, and corrections of a label are not counted again."""
    rng = np.random.default_rng(3)
    rows = logged(km=rng.normal(100, 5, 400).tolist())
    shifted = dict(zip(rows["id"], rows["km"] + rng.normal(0, 1, 400), strict=True))

    def recompute(piece: pl.DataFrame) -> pl.DataFrame:
        return pl.DataFrame({"km": [shifted[each] for each in piece["id"]]})

    whole = compare_features([rows], recompute, ["km"]).features[0]
    pieces = [*rows.iter_slices(33), rows.head(9).with_columns(first=pl.lit(value=False))]
    cut = compare_features(pieces, recompute, ["km"]).features[0]

    assert (whole.rows, whole.differing, whole.greatest, whole.worst) == (
        cut.rows,
        cut.differing,
        cut.greatest,
        cut.worst,
    )
    assert (whole.bias, whole.mean_size, whole.spread) == pytest.approx(
        (cut.bias, cut.mean_size, cut.spread), rel=1e-12
    )


def test_against_a_feature_table(tmp_path: Path) -> None:
    """A server that used what was not known yet is found out by the table joined as-of."""
    times = [START + timedelta(hours=h) for h in range(4)]
    pl.DataFrame({"asked": times, "p": [0.5] * 4, "who": ["u"] * 4, "wind": [None, 2.0, 2.0, 4.0]}).write_parquet(
        tmp_path / "r.parquet"
    )
    pl.DataFrame({"who": ["u"] * 3, "known": times[:3], "wind": [1.0, 2.0, 4.0]}).write_parquet(tmp_path / "f.parquet")
    table = read_feature_table(FeatureSource("f.parquet", ("wind",), ("who",), "known"), tmp_path)
    ingest = Ingest(Ask("r.parquet", Roles("asked", {"live": "p"}, features=("who", "wind"))), tmp_path, piece_rows=3)

    found = compare_features(ingest, from_table(table), ["wind"]).features[0]

    assert (found.rows, found.differing, found.share) == (4, 1, 0.25)
    assert [(each.logged, each.recomputed) for each in found.worst] == [(2.0, 1.0)]


def test_section() -> None:
    """The report names the worst feature, and says so where all agree."""
    rows = logged(km=[1.0, 2.0], miles=[1.0, 2.0])
    off = draw(
        compare_features([rows], lambda _: pl.DataFrame({"km": [1.0, 2.0], "miles": [1.0, -0.5]}), ["km", "miles"])
    )
    same = draw(compare_features([rows], lambda piece: piece, ["km", "miles"]))

    assert off.sentences == (
        "1 of 2 features differ between logged and recomputed, `miles` most often: in 50.00% of the requests.",
    )
    assert off.tables[0].rows[0][:2] == ("miles", "50.00%")
    assert off.tables[1].rows == (("miles", "r1", "2", "−0.5", "2.5"),)
    assert same.sentences == ("All 2 features were recomputed as they had been logged.",)
    assert compare_features([rows], lambda piece: piece, ["km"]).to_dict()["features"][0]["share"] == 0.0


@pytest.mark.parametrize(
    ("again", "message"),
    [
        (pl.DataFrame({"km": [1.0]}), "gave 1 rows for 2"),
        (pl.DataFrame({"kms": [1.0, 2.0]}), "`km` was not recomputed; did you mean `kms`"),
        (pl.DataFrame({"km": ["1", "2"]}), "was logged as Float64 and recomputed as String"),
    ],
)
def test_recomputed_otherwise(again: pl.DataFrame, message: str) -> None:
    """A recomputation of another shape is refused."""
    with pytest.raises(DataError, match=message):
        compare_features([logged(km=[1.0, 2.0])], lambda _: again, ["km"])
