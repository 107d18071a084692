from __future__ import annotations

import base64
import gzip
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from windtunnel.backtest.reading import FORMATS, Ask, Ingest, LabelSource, Roles, Rules, detect
from windtunnel.backtest.reading.own import LOG
from windtunnel.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pathlib import Path

LENIENT = Rules(most_missing=1.0)


def us(text: str) -> int:
    """Whole µs since 1970 of a time in UTC."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1e6)


def write_lines(path: Path, documents: list[Any]) -> Path:
    """JSON lines; text stands as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in documents)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def capture(name: str, time: str, sent: str, answer: str, encoding: str = "CSV", **more: Any) -> dict[str, Any]:
    """As in the Developer Guide's example of a captured event."""
    coded = (lambda text: base64.b64encode(text.encode()).decode()) if encoding == "BASE64" else (lambda text: text)
    return {
        "captureData": {
            "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT", "data": coded(sent), "encoding": encoding},
            "endpointOutput": {"observedContentType": "text/csv; charset=utf-8", "mode": "OUTPUT", "data": coded(answer), "encoding": encoding},
        },
        "eventMetadata": {"eventId": name, "inferenceTime": time, **more},
        "eventVersion": "0",
    }  # fmt: skip


def truth(name: str, label: str) -> dict[str, Any]:
    """As in the Developer Guide's structure of ground truth."""
    return {
        "groundTruthData": {"data": label, "encoding": "CSV"},
        "eventMetadata": {"eventId": name},
        "eventVersion": "0",
    }


def test_sagemaker(tmp_path: Path) -> None:
    """Captures in folders of hours and ground truth in others are joined by id; a label is known when its hour is over."""
    write_lines(
        tmp_path / "capture/AllTraffic/2024/05/01/10/a.jsonl",
        [
            capture("a", "2024-05-01T10:00:01Z", "132,25,,x", "0.25"),
            capture("b", "2024-05-01T10:00:02Z", "1,2,3,y", "0.5", "BASE64", inferenceId="order-7"),
            capture("c", "2024-05-01T10:00:03Z", "4,5,6,z", "0.75"),
        ],
    )
    write_lines(tmp_path / "truth/2024/05/01/11/t.jsonl", [truth("a", "1"), truth("order-7", "0")])
    write_lines(tmp_path / "truth/2024/05/02/09/t.jsonl", [truth("a", "0"), truth("stranger", "1")])
    roles = Roles(predictions={"live": "output"}, features=("input[0]", "input[2]", "input[3]"))
    ingest = Ingest(Ask("capture", roles, LabelSource("truth")), tmp_path)

    rows = ingest.held().sort("id", "known")

    assert ingest.form.name == "sagemaker"
    assert rows["id"].to_list() == ["a", "a", "c", "order-7"]
    assert rows["time"].to_list()[0] == us("2024-05-01T10:00:01")
    assert rows["known"].to_list()[:2] == [us("2024-05-01T12:00:00"), us("2024-05-02T10:00:00")]
    assert rows["until"].to_list()[0] == us("2024-05-02T10:00:00")
    assert rows["label"].fill_nan(None).to_list() == [1.0, 0.0, None, 0.0]
    assert rows["live"].to_list() == [0.25, 0.25, 0.75, 0.5]
    assert rows["input[2]"].to_list() == [None, None, 6.0, 3.0]
    assert rows["input[3]"].to_list() == ["x", "x", "z", "y"]
    assert (ingest.intake.strays, ingest.intake.corrections, ingest.intake.labelled) == (1, 1, 2)


def test_sagemaker_lines_that_break_off(tmp_path: Path) -> None:
    """Lines and payloads that cannot be read are counted by reason and left out, a few of them; many are refused."""
    good = [capture(str(i), "2024-05-01T10:00:01Z", "1,2", "0.5") for i in range(2)]
    bad = capture("j", "2024-05-01T10:00:01Z", "{", "}", "JSON")
    path = write_lines(tmp_path / "c.jsonl", [*good, bad, '{"captureData": {"endp', {"captureData": {}}])
    roles = Roles(predictions={"live": "output"})

    ingest = Ingest(Ask("c.jsonl", roles, rules=LENIENT), tmp_path)
    assert len(ingest.held()) == 2
    assert ingest.intake.skipped == {
        "captures with a payload that cannot be read": 1, "lines that are no JSON object": 1, "lines that are no capture": 1,
    }  # fmt: skip
    with pytest.raises(DataError, match=r"c\.jsonl: .*holds 3 of 5 rows that cannot be used.*most_missing"):
        Ingest(Ask(path.name, roles), tmp_path).held()


def test_ground_truth_outside_of_an_hour(tmp_path: Path) -> None:
    """Ground truth that lies in no folder of an hour cannot be dated, and is refused."""
    write_lines(tmp_path / "c.jsonl", [capture("a", "2024-05-01T10:00:01Z", "1,2", "0.5")])
    write_lines(tmp_path / "t.jsonl", [truth("a", "1")])

    with pytest.raises(DataError, match="does not lie in the folder of an hour"):
        Ingest(Ask("c.jsonl", Roles(predictions={"live": "output"}), LabelSource("t.jsonl")), tmp_path).held()


def kserve(name: str, side: str, time: str, data: Any, **more: Any) -> dict[str, Any]:
    """A structured event of KServe's logger."""
    return {
        "specversion": "1.0", "id": name, "type": f"org.kubeflow.serving.inference.{side}", "time": time, "source": "http://localhost:9081/",
        "inferenceservicename": "iris", "endpoint": "default", "datacontenttype": "application/json", "data": data, **more,
    }  # fmt: skip


def message(name: str, side: str, time: str, body: str) -> dict[str, Any]:
    """A binary event of Seldon's logger, as an HTTP message."""
    headers = {
        "Ce-Id": name,
        "Ce-Type": f"io.seldon.serving.inference.{side}",
        "Ce-Time": time,
        "Ce-Specversion": "1.0",
    }
    return {"headers": headers, "body": body}


def test_kserve_events(tmp_path: Path) -> None:
    """Requests and responses are paired by id in whichever order they came; instances of a batch get ids of their own."""
    documents = [
        kserve("one", "request", "2024-05-01T10:00:00.5Z", {"instances": [[1, 2]]}),
        kserve("two", "response", "2024-05-01T10:00:02Z", {"predictions": [0.1, 0.9]}),
        kserve("one", "response", "2024-05-01T10:00:01Z", {"predictions": [0.25]}),
        kserve("two", "request", "2024-05-01T10:00:01Z", {"instances": [[3, 4], [5, 6]]}),
        kserve("lost", "request", "2024-05-01T10:00:03Z", {"instances": [[7, 8]]}),
        kserve("odd", "response", "2024-05-01T10:00:03Z", {"predictions": [0.5]}),
        kserve("hi", "feedback", "2024-05-01T10:00:03Z", {}),
        kserve("one", "request", "2024-05-01T10:00:09Z", {"instances": [[1, 2]]}),
    ]
    write_lines(tmp_path / "events.jsonl.gz", documents)
    roles = Roles(predictions={"live": "output"}, features=("input[1]",), model_version="endpoint")
    ingest = Ingest(Ask("events.jsonl.gz", roles, rules=LENIENT), tmp_path)

    rows = ingest.held().sort("id")

    assert ingest.form.name == "cloudevents"
    assert rows["id"].to_list() == ["one", "two#0", "two#1"]
    assert rows["time"].to_list() == [
        us("2024-05-01T10:00:00.500"),
        us("2024-05-01T10:00:01"),
        us("2024-05-01T10:00:01"),
    ]
    assert rows["live"].to_list() == [0.25, 0.1, 0.9]
    assert rows["input[1]"].to_list() == [2.0, 4.0, 6.0]
    assert rows["model_version"].to_list() == ["default"] * 3
    assert ingest.intake.skipped == {
        "events that are neither request nor response": 1,
        "responses without a request": 1,
    }
    # the lost one, and the one whose id had been answered already
    assert (ingest.intake.left_out, ingest.intake.duplicates, dict(ingest.intake.missing)) == (1, 1, {"live": 1})


def test_seldon_messages(tmp_path: Path) -> None:
    """The HTTP messages of a logger, with SeldonMessages in them, are the same rows; base64 too."""
    sent = '{"data": {"names": ["km"], "ndarray": [[7]]}}'
    structured = kserve("b", "request", "2024-05-01T10:00:02Z", None)
    del structured["data"]
    structured |= {"data_base64": base64.b64encode(b'{"data": {"names": ["km"], "ndarray": [[8]]}}').decode()}
    answers = [
        message("a", "response", "2024-05-01T10:00:01Z", '{"data": {"names": ["t:0"], "ndarray": [[0.25]]}}'),
        kserve("b", "response", "2024-05-01T10:00:03Z", {"data": {"tensor": {"shape": [1, 1], "values": [0.5]}}}),
    ]
    write_lines(tmp_path / "s.jsonl", [message("a", "request", "2024-05-01T10:00:00Z", sent), structured, *answers])
    rows = Ingest(Ask("s.jsonl", Roles(predictions={"live": "output"}, features=("km",))), tmp_path).held().sort("id")

    assert rows.select("id", "live", "km").rows() == [("a", 0.25, 7.0), ("b", 0.5, 8.0)]


CALLS = [
    ('{"dataframe_split": {"columns": ["km"], "data": [[7]]}}', '{"predictions": [0.25]}', 200, "mine", "d1"),
    ('{"dataframe_records": [{"km": 8}]}', '{"predictions": [0.5]}', 200, None, "d2"),
    ('{"inputs": [[9]]}', '{"error_code": "BAD"}', 400, None, "d3"),
]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("gateway", [False, True])
def test_databricks(tmp_path: Path, suffix: str, *, gateway: bool) -> None:
    """Both kinds of inference table, exported in any way, are the same rows; failed calls are counted and left out."""
    table = pl.DataFrame(
        CALLS, schema=["request", "response", "status_code", "client_request_id", "databricks_request_id"], orient="row"
    )
    times = [us("2024-05-01T10:00:00") // 1000 + ms for ms in (0, 250, 500)]
    stamps = pl.from_epoch(pl.Series(times), time_unit="ms").dt.replace_time_zone("UTC")
    own: dict[str, Any] = (
        {"request_time": stamps, "execution_duration_ms": [3, 4, 5]}
        if gateway
        else {"timestamp_ms": times, "execution_time_ms": [3, 4, 5]}
    )
    table = table.with_columns(sampling_fraction=pl.lit(0.5), **{name: pl.Series(each) for name, each in own.items()})
    getattr(table, {"parquet": "write_parquet", "csv": "write_csv", "jsonl": "write_ndjson"}[suffix])(
        tmp_path / f"t.{suffix}"
    )
    ingest = Ingest(Ask(f"t.{suffix}", Roles(predictions={"live": "output"}, features=("km",))), tmp_path)

    rows = ingest.held()

    assert ingest.form.name == "databricks"
    assert rows.select("id", "live", "km", "weight").rows() == [("mine", 0.25, 7.0, 2.0), ("d2", 0.5, 8.0, 2.0)]
    assert rows["time"].to_list() == [1000 * each for each in times[:2]]
    assert ingest.intake.skipped == {"calls that failed": 1}
    assert any("sample" in said for said in ingest.intake.said)


def test_own_log(tmp_path: Path) -> None:
    """The log of record needs no column named but the predictions; what ran in the shadow has a column of its own."""
    frame = pl.DataFrame(
        {"id": ["a", "b"], "time": [datetime(2024, 5, 1, tzinfo=UTC)] * 2, "model": ["m"] * 2, "version": ["3"] * 2, "latency_s": [0.1, 0.2],
         "prediction": [0.25, 0.5], "prediction.next": [0.3, 0.4], "km": [1.0, 2.0]}
    )  # fmt: skip
    frame.write_parquet(tmp_path / "log.parquet")
    roles = Roles(predictions={"live": "prediction", "next": "prediction.next"}, features=("km",))
    ingest = Ingest(Ask("log.parquet", roles), tmp_path)

    rows = ingest.held()

    assert ingest.form.name == "windtunnel"
    assert {name: frame.schema[name] for name in LOG} == dict(LOG)
    assert rows.select("id", "live", "next", "km", "model_version").rows() == [
        ("a", 0.25, 0.3, 1.0, "3"),
        ("b", 0.5, 0.4, 2.0, "3"),
    ]


def test_detect(tmp_path: Path) -> None:
    """What is of no known format is a plain table; a name that is not known is answered with those that are."""
    (tmp_path / "a.csv").write_text("t,p\n2024-01-01,1\n")

    assert detect(str(tmp_path / "a.csv")).name == "table"
    assert detect(str(tmp_path / "a.csv"), "databricks") is FORMATS["databricks"]
    with pytest.raises(ConfigError, match=r"`format` \(='sagemakr'\) is not a format; did you mean `sagemaker`"):
        detect("", "sagemakr")


def test_no_json(tmp_path: Path) -> None:
    """A file without a suffix that holds no JSON object is refused by name, with what could be given."""
    (tmp_path / "log").write_text("hello\nthere\n")

    with pytest.raises(DataError, match=r"log: holds no JSON object.*Parquet, CSV"):
        detect(str(tmp_path / "log"))


def test_a_feature_that_was_never_sent(tmp_path: Path) -> None:
    """A column that is in no request is refused with those that are."""
    write_lines(tmp_path / "c.jsonl", [capture("a", "2024-05-01T10:00:01Z", "1,2", "0.5")])

    with pytest.raises(DataError, match=r"`ouput` is in none of the requests; did you mean `output`"):
        Ingest(Ask("c.jsonl", Roles(predictions={"live": "ouput"})), tmp_path).held()
