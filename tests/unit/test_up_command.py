"""`fraudflow up` asks for the parts that a person names."""

import pytest
from typer.testing import CliRunner

from cli.main import Service, app
from infra.local import stack


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], set(stack.SERVICES)),
        (["--only", "worker"], {stack.WORKER}),
        (["--only", "kafka", "--only", "prefect"], {stack.KAFKA, stack.PREFECT}),
    ],
    ids=["all", "one", "two"],
)
def test_parts(arguments: list[str], parts: set[str], monkeypatch: pytest.MonkeyPatch):
    asked: dict[str, object] = {}
    monkeypatch.setattr(stack, "up", lambda _, **given: asked.update(given))
    done = CliRunner().invoke(app, ["up", *arguments])
    assert done.exit_code == 0, done.output
    assert set(asked["services"]) == parts  # type: ignore[arg-type]


def test_every_part_can_be_named():
    assert set(Service) == set(stack.SERVICES)
