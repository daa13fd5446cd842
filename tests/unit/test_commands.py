"""What commands refuse before anything happens, and what they ask first."""

import pytest
from click import unstyle
from typer.testing import CliRunner

from cli.main import app
from infra.errors import TerminalError
from infra.local import stack
from infra.setting_names import unknown_variables
from infra.settings import Settings, get_settings


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """No stack is there, and none is started."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing may be started")

    monkeypatch.setenv("FRAUDFLOW_LOCAL__HOME", str(tmp_path))
    monkeypatch.setattr(stack, "up", refuse)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def call(*arguments: str, answer: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments], input=answer)
    return result.exit_code, unstyle(result.output)


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("teardown", "--stack", "prod"), "--stack"),
        (("teardown", "--target", "ecs", "--topic", "Predictions"), "--topic"),
        (("provision", "--target", "local", "--dry-run"), "--dry-run"),
        (("provision", "--target", "local", "--no-topics"), "--no-topics"),
        (("train", "--source", "file"), "--transactions"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(arguments: tuple[str, ...], option: str):
    code, told = call(*arguments)
    assert code == 2
    assert option in told


def test_simulated_data_goes_to_servers_of_others_only_when_somebody_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FRAUDFLOW_KAFKA__BOOTSTRAP_SERVERS", "kafka.example.com:9092")
    monkeypatch.setenv("FRAUDFLOW_HAZELCAST__MEMBERS", '["hazelcast.example.com:5701"]')
    get_settings.cache_clear()
    with pytest.raises(TerminalError, match=r"kafka\.example\.com:9092.*: say so with --yes"):
        CliRunner().invoke(app, ["run"], catch_exceptions=False)
    monkeypatch.setattr("cli.main._somebody_is_there", lambda: True)
    code, told = call("run", answer="n\n")
    assert code == 1
    assert "send simulated transactions to Transactions of Kafka at kafka.example.com:9092" in told
    assert "in place of those in Hazelcast at hazelcast.example.com:5701" in told
    with pytest.raises(AssertionError, match="nothing may be started"):
        CliRunner().invoke(app, ["run", "--yes"], catch_exceptions=False)


def test_servers_of_its_own_are_not_asked_about():
    with pytest.raises(AssertionError, match="nothing may be started"):
        CliRunner().invoke(app, ["run"], catch_exceptions=False)


def test_a_setting_that_is_none_is_told_with_the_one_that_was_meant(monkeypatch: pytest.MonkeyPatch, tmp_path):
    (tmp_path / ".env").write_text("FRAUDFLOW_SCORING__MODELL=x\nFRAUDFLOW_SCORING__PROCESSES=2\nPATH_OF_MINE=1\n")
    monkeypatch.setitem(Settings.model_config, "env_file", str(tmp_path / ".env"))
    monkeypatch.setenv("FRAUDFLOW_KAFKA__BOOTSTRAP_SERVER", "kafka:9092")
    monkeypatch.setenv("FRAUDFLOW_KAFKA__TOPICS__PREDICTIONS", "Predictions")
    monkeypatch.setenv("FRAUDFLOW_AWS__REGION", "us-east-1")
    monkeypatch.setenv("FRAUDFLOW_STACK_HOME", "/x")
    assert unknown_variables() == {
        "FRAUDFLOW_KAFKA__BOOTSTRAP_SERVER": "FRAUDFLOW_KAFKA__BOOTSTRAP_SERVERS",
        "FRAUDFLOW_SCORING__MODELL": "FRAUDFLOW_SCORING__MODEL",
    }


def test_status_can_be_asked_by_a_script():
    code, told = call("status")
    assert code == 1, "nothing is up"
    assert "stopped" in told


def test_what_cannot_be_torn_down_says_what_can():
    with pytest.raises(TerminalError, match="`fraudflow down` ends processes that are left"):
        CliRunner().invoke(app, ["teardown"], catch_exceptions=False)


def test_a_file_of_settings_that_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path):
    (tmp_path / ".env").write_bytes(b"FRAUDFLOW_SCORING__PROCESSES=\xff")
    monkeypatch.setitem(Settings.model_config, "env_file", str(tmp_path / ".env"))
    with pytest.raises(TerminalError, match=r"\.env of this folder cannot be read"):
        unknown_variables()
