"""The steps from a history to a model in the registry, and from there to the scorers."""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from infra.errors import TerminalError
from infra.feature_store import FeatureStore
from infra.feature_tables import FeatureTables
from infra.hazelcast import connect
from infra.settings import Settings, get_settings
from infra.transaction_sources import open_source
from scoring.feature_files import read_feature_files
from scoring.features import Features
from scoring.history import ONLINE_VERSION
from tasks.features import demo_data
from tasks.retry import transient_only
from training import dataset as datasets
from training.sources import partition_count, pieces_of, pieces_of_topic, simulated, topic_identity
from training.labels import read_labels

# Histories that are kept on disk, the newest ones: about 150 bytes a transaction.
KEPT_HISTORIES = 3


@dataclass(frozen=True)
class HistoryOf:
    """Where a labelled history comes from.

    Attributes:
        source: topics, file or simulator.
        transactions: the file.
        data: folder with customers, merchants and dictionaries.
        count, seed, days: of the simulator.
    """

    source: Literal["topics", "file", "simulator"] = "topics"
    transactions: str | None = None
    data: str | None = None
    count: int = 2_000_000
    seed: int = 7
    days: int = 90

    def text(self) -> str:
        """For people and for the registry."""
        match self.source:
            case "topics":
                return "the topics"
            case "file":
                return str(self.transactions)
            case _:
                return f"the simulator: {self.count:,} transactions in {self.days} days, seed {self.seed}"
