"""The settings of the servers that tests start."""

from pathlib import Path
from typing import Any

from infra.settings import LocalSettings


def local(home: Path, **changes: Any) -> LocalSettings:
    """A stack on free ports. Java's second compiler pays for servers that live longer than a test run's."""
    free_ports = dict.fromkeys(("kafka_port", "hazelcast_port", "prefect_port", "dashboard_port"), 0)
    return LocalSettings(home=home, java_options="-XX:TieredStopAtLevel=1", **free_ports | changes)
