"""What looks at the age of something runs where it is renewed."""

import pytest
import yaml

from tests.conftest import PROJECT


@pytest.mark.parametrize("file", ["prefect.yaml", "prefect-ecs.yaml"])
def test_features_are_loaded_by_schedule_where_their_age_is_watched(file: str):
    deployments = yaml.safe_load((PROJECT / file).read_text())["deployments"]
    on = {
        deployment["entrypoint"]: schedule.get("parameters")
        for deployment in deployments
        for schedule in deployment.get("schedules", [])
        if schedule["active"]
    }
    assert "flows/monitor.py:monitor" in on
    assert on["flows/load_features.py:load_features"] == {"again": True}, "or it loads customers that do not exist"
