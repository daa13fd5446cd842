"""The runs of every flow of this project, and of no other, are watched for silence."""

import re
from pathlib import Path

from infra.local.runs import FLOWS

PROJECT = Path(__file__).parents[2]


def test_all_flows_are_named():
    texts = [path.read_text() for path in (PROJECT / "flows").glob("*.py")]
    assert set(FLOWS) == {name for text in texts for name in re.findall(r'@flow\(name="([^"]+)"', text)}
