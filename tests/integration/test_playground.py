"""People's own SQL on a real cluster: what is sent for a text is what Hazelcast understands."""

import pytest

from dashboard.cluster import Cluster
from dashboard.playground import EXAMPLES, Playground
from infra.hazelcast import SUSPECTS
from infra.projection import Projection
from infra.projection_sql import LOWEST_SUSPICION, SUSPECT_COLUMNS
from tests.integration.predicted import prediction, produce
from tests.waiting import until

pytestmark = pytest.mark.server


def test_examples_run_and_suspects_can_be_asked_alone(settings, client):
    Projection(client, settings).ensure()
    playground = Playground(Cluster(settings.hazelcast, query_seconds=20), max_rows=1_000)
    produce(settings, [prediction(i) for i in range(100)])
    suspects = 100 - round(LOWEST_SUSPICION * 100)
    until(lambda: client.get_map(SUSPECTS).size().result() == suspects, what="the suspects")

    for text in EXAMPLES.values():
        assert not playground.run(text).cut
    rows = playground.run(f"SELECT * FROM {SUSPECTS} ORDER BY fraud_probability").frame
    assert rows.height == suspects
    assert set(rows.columns) == set(SUSPECT_COLUMNS)
    (counted,) = playground.run(f"SELECT COUNT(*) AS n FROM {SUSPECTS} WHERE fraud_probability >= 0.5").frame["n"]
    assert counted == 50
    means = playground.run("SELECT model_version, AVG(inference_time_ns) AS mean, SUM(source_offset) AS total "
                           "FROM predictionResult GROUP BY model_version").frame  # fmt: skip
    assert means.rows() == [("m", 900.0, 4_950.0)]
    assert playground.run("SELECT *, amount FROM predictionResult LIMIT 1").frame.columns[-1] == "amount_2"
