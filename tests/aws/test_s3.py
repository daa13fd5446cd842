"""Files in S3: copied once, checked, copied again where they changed; and what people are told where they are not."""

from pathlib import Path
from typing import Any

import boto3
import pytest
from hazelcast.client import HazelcastClient

from flows.load_features import load_features
from flows.seed_transactions import seed_transactions
from infra import s3
from infra.errors import InputError, TerminalError
from infra.feature_store import FeatureStore
from infra.settings import Settings
from scoring.feature_files import read_feature_files
from simulator.population import simulate_population, write_population
from tests.aws.conftest import REGION, Calls
from tests.conftest import reporting_to
from tests.kafka_log import read

pytestmark = pytest.mark.server

BUCKET = "somebodys-files"


@pytest.fixture
def bucket(aws: Calls) -> Any:
    """A bucket as S3's own client sees it."""
    made = boto3.resource("s3", REGION).Bucket(BUCKET)
    made.create()
    aws.clear()
    return made


class Transfers:
    """What came from S3, by name."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def __call__(self, uri: str, done: int, total: int) -> None:
        if done == total:
            self.ended.append(uri)


def test_a_file_comes_once_and_again_only_when_it_changed(bucket: Any, tmp_path: Path) -> None:
    bucket.put_object(Key="models/fraud.onnx", Body=b"the first")
    uri, came = f"s3://{BUCKET}/models/fraud.onnx", Transfers()

    path = s3.fetch(uri, tmp_path, REGION, came)
    assert (path.name, path.read_bytes()) == ("fraud.onnx", b"the first")
    assert s3.fetch(uri, tmp_path, REGION, came) == path
    assert came.ended == [uri], "the copy is used"

    path.write_bytes(b"the firsT")
    assert s3.fetch(uri, tmp_path, REGION, came).read_bytes() == b"the first", "a damaged copy is not"

    bucket.put_object(Key="models/fraud.onnx", Body=b"the second")
    assert s3.fetch(uri, tmp_path, REGION, came).read_bytes() == b"the second"
    assert came.ended == [uri] * 3


def test_a_key_does_not_lead_out_of_the_cache(bucket: Any, tmp_path: Path) -> None:
    bucket.put_object(Key="../../../../outside/file", Body=b"anything")
    path = s3.fetch(f"s3://{BUCKET}/../../../../outside/file", tmp_path / "cache", REGION)
    assert path.resolve().is_relative_to(tmp_path / "cache")
    with pytest.raises(InputError, match="folder"):
        s3.fetch(f"s3://{BUCKET}/models/..", tmp_path / "cache", REGION)


def test_what_stops_in_the_middle_leaves_the_copy_before(bucket: Any, tmp_path: Path) -> None:
    bucket.put_object(Key="file", Body=b"whole")
    path = s3.fetch(f"s3://{BUCKET}/file", tmp_path, REGION)
    bucket.put_object(Key="file", Body=b"newer")

    def stops(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        s3.fetch(f"s3://{BUCKET}/file", tmp_path, REGION, stops)
    assert path.read_bytes() == b"whole"
    assert len(list(path.parent.iterdir())) == 2, "the copy and what is known of it"


@pytest.mark.parametrize(
    ("uri", "error", "told"),
    [
        (f"s3://{BUCKET}/is-not-there", InputError, f"s3://{BUCKET}/is-not-there: is not there"),
        ("s3://nobodys-files/file", TerminalError, "NoSuchBucket"),
        ("s3://", InputError, "s3://bucket/key"),
        (f"s3://{BUCKET}", InputError, "s3://bucket/key"),
        (f"s3://{BUCKET}/folder/", InputError, "folder"),
    ],
)
def test_what_is_not_there_is_named(bucket: Any, tmp_path: Path, uri: str, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        s3.fetch(uri, tmp_path, REGION)


def test_a_refusal_says_which_right_is_missing(aws: Calls, bucket: Any, tmp_path: Path) -> None:
    aws.fail("GetObject", "AccessDenied")
    with pytest.raises(TerminalError, match=f"cannot read s3://{BUCKET}/file: AccessDenied.*permission for GetObject"):
        s3.fetch(f"s3://{BUCKET}/file", tmp_path, REGION)


def test_no_room_is_told_and_not_a_fault_of_s3(bucket: Any, tmp_path: Path) -> None:
    bucket.put_object(Key="file", Body=b"whole")
    (tmp_path / "s3").write_text("a file where a folder should be")
    with pytest.raises(TerminalError, match="cannot keep"):
        s3.fetch(f"s3://{BUCKET}/file", tmp_path, REGION)


def test_the_flows_take_their_files_from_s3(
    bucket: Any,
    settings: Settings,
    client: HazelcastClient,
    prefect: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Features, loaded and found again by name; transactions of a file, and of the simulator with those customers."""
    monkeypatch.setenv("FRAUDFLOW_LOCAL__CACHE", str(tmp_path / "cache"))
    data, place = tmp_path / "data", f"s3://{BUCKET}/data"
    write_population(simulate_population(200, 20, 1), data)
    for path in data.rglob("*"):
        if path.is_file():
            bucket.upload_file(str(path), f"data/{path.relative_to(data)}")
    rows = ["cc_num,trans_num,amt,merchant,transaction_date,merch_lat,merch_long,is_fraud"]
    rows += [f"4{number:015},t{number},1.5,m,2025-01-01 00:00:00,1.0,2.0,0" for number in range(100)]
    bucket.put_object(Key="transactions.csv", Body="\n".join(rows).encode())

    with reporting_to(prefect):
        loaded = load_features(place)
        assert loaded["version"] == read_feature_files(data).version
        assert load_features()["loaded"] is False, "left out, it is the place that was loaded last"
        manifest = FeatureStore(client).read_manifest()
        assert manifest is not None
        assert manifest.source == place
        assert seed_transactions(f"s3://{BUCKET}/transactions.csv")["sent"] == 100
        assert seed_transactions(data=place, count=50)["sent"] == 50
        with pytest.raises(InputError, match="is not there"):
            load_features(f"s3://{BUCKET}/nothing")
    assert len(read(settings.kafka, settings.kafka.topics.transactions)) == 150
