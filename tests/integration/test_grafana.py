"""The Grafana dashboard draws no name that a scorer does not serve."""

import json
import re
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.feature_store import FeatureStore
from infra.local import ports
from infra.seeding import seed
from scoring.feature_files import read_feature_files
from tests.conftest import PROJECT
from tests.integration.scored import drain, produce, simulated
from tests.waiting import until

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_a_scorer_serves_every_name_that_is_drawn_of_it(settings, client, spawn, population):
    made, directory = population
    FeatureStore(client).load(read_feature_files(directory))
    seed(settings.kafka, simulated(made, 200), "grafana")
    produce(settings, [b"no transaction"])
    port = ports.choose(0, setting="")
    spawn("0", FRAUDFLOW_SCORING__HEALTH_PORT=str(port))
    drain(settings)
    panels = json.loads((PROJECT / "dashboard" / "grafana.json").read_text())["panels"]
    drawn = {
        (name, label)
        for panel in panels
        for target in panel.get("targets", ())
        for name in re.findall(r"fraudflow_scorer_\w+", target["expr"])
        for label in re.findall(r"by \((\w+)\)", target["expr"]) or [None]
    }
    assert len(drawn) >= 8

    def served() -> set[tuple[str, str | None]]:
        with urllib.request.urlopen(f"http://{ports.HOST}:{port}/metrics", timeout=5) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            samples = [sample for family in families for sample in family.samples]
        return {(s.name, label) for s in samples for label in (None, *s.labels)}

    until(lambda: drawn <= served(), 30, f"all of {sorted(map(str, drawn))}")
