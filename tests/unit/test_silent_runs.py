"""The runs of this project's deployments, and of no other, are called crashed when they fall silent."""

import pytest
import yaml
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import RelatedResource, Resource

from infra.local.runs import AWS_TAG, TAG, silent_runs_crash
from tests.conftest import PROJECT


def watched(flow: str, tags: list[str]) -> bool:
    """Whether the automation's trigger takes a heartbeat of such a run for one of those that it waits for."""
    trigger = EventTrigger.model_validate(silent_runs_crash()["trigger"])
    flow_resource = {
        "prefect.resource.id": "prefect.flow.1",
        "prefect.resource.role": "flow",
        "prefect.resource.name": flow,
    }
    of_tags = [{"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in tags]
    related = [RelatedResource.model_validate(each) for each in (flow_resource, *of_tags)]
    run = Resource.model_validate({"prefect.resource.id": "prefect.flow-run.1"})
    return trigger.covers_resources(run, related)


@pytest.mark.parametrize("file", ["prefect.yaml", "prefect-ecs.yaml"])
def test_every_deployments_runs_are_watched(file: str):
    for deployment in yaml.safe_load((PROJECT / file).read_text())["deployments"]:
        assert watched("anything", deployment["tags"]), deployment["name"]


def test_a_strangers_run_of_the_same_name_is_not():
    assert watched("train", ["nightly", TAG])
    assert watched("train", [AWS_TAG])
    assert not watched("train", ["nightly"])
    assert not watched("train", [])
