"""Quix Streams, as its tutorials have it: a topic, a StreamingDataFrame, apply, another topic."""

import os
import sys

from quixstreams import Application
from work import BROKERS, GROUP, INPUT, OUTPUT, FraudModel


def main() -> None:
    """Run until the process is ended."""
    app = Application(
        broker_address=BROKERS,
        consumer_group=GROUP,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once" if "--exactly-once" in sys.argv else "at-least-once",
        # Its default of 5 s would be its latency where a transaction shows its rows.
        commit_interval=float(os.environ.get("PEER_COMMIT_SECONDS", "5")),
        state_dir=os.environ["PEER_STATE"],
    )
    source = app.topic(INPUT, key_deserializer="bytes", value_deserializer="json")
    target = app.topic(OUTPUT, key_serializer="str", value_serializer="json")
    model = FraudModel()
    rows = app.dataframe(source).apply(model.score)
    rows.to_topic(target, key=lambda answer: answer["transaction_number"])
    app.run()


if __name__ == "__main__":
    main()
