"""The settings of the servers that tests start."""

from pathlib import Path
from typing import Any

from infra.settings import LocalSettings


def local(home: Path, **changes: Any) -> LocalSettings:
    """A stack on free ports.

    Java's second compiler pays for servers that live longer than a test run's. A member behind others would starve
    beside the tests that run at the same time.
    """
    free_ports = dict.fromkeys(("kafka_port", "hazelcast_port", "prefect_port", "dashboard_port"), 0)
    usual = {"home": home, "java_options": "-XX:TieredStopAtLevel=1", "hazelcast_niceness": 0}
    return LocalSettings(**usual | free_ports | changes)
