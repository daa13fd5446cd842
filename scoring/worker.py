"""One scorer process: `python -m scoring.worker --slot 0`.

Ends on SIGTERM with everything committed, and when its supervisor is gone, however that went: the kernel
sends the signal (PR_SET_PDEATHSIG), and where there is no such kernel, its standard input ends.
"""

import argparse
import ctypes
import gc
import json
import logging
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

from infra.errors import FraudflowError, TerminalError
from infra.kafka import ensure_topics
from infra.settings import Settings, get_settings
from scoring.breaker import TooManyDeadLetters
from scoring.feature_watch import FeatureWatch
from scoring.flood import FloodFilter
from scoring.health import Health, HealthServer
from scoring.loop import ScoringLoop
from scoring.model_watch import ModelWatch
from scoring.projection_watch import ProjectionWatch
from scoring.scorer import Scorer

logger = logging.getLogger("scoring.worker")

# The exit code by which the supervisor knows that a restart would not help.
EXIT_TERMINAL = 64
REPORT_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1


class Worker:
    """Ties a scorer to its process: signals, supervisor, reports."""

    def __init__(
        self,
        settings: Settings,
        slot: str,
        supervised: bool,
        heartbeat: Path | None = None,
        projection: ProjectionWatch | None = None,
    ):
        self._settings = settings
        self._projection = projection
        self._heartbeat = heartbeat
        self._slot = slot
        self._supervised = supervised
        self._stop = False
        self._next_report = 0.0
        self._features = FeatureWatch(settings)
        self._models = ModelWatch(settings)
        self._health = Health(settings, lambda: self._features.state)
        self._url = ""

    def run(self) -> None:
        """Wait for features, then score until told to stop.

        Raises:
            TerminalError: the model or the settings cannot be used; with a supervisor, most of the input neither.
        """
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        if self._supervised:
            self._die_with_supervisor()
        scoring = self._settings.scoring
        partitions = ensure_topics(self._settings.kafka)[self._settings.kafka.topics.predictions]
        self._models.first()
        server = HealthServer(scoring, self._slot, self._health)
        self._url = server.url
        logger.info("health at %s/health, metrics at %s/metrics", server.url, server.url)
        self._features.start()
        self._models.start()
        if self._projection:
            self._projection.start()
        try:
            while not self._stopping() and self._features.wait(0.5) is None:
                self._report({"state": self._features.state})
            features = self._features.newest()
            if features is None or self._stopping():
                return
            scorer = Scorer(self._models.newest(), features, scoring)
            loop = ScoringLoop(self._settings, scorer, self._slot, partitions)
            logger.info("scoring with model %s and features %s", scorer.model_version, features.version)
            self._health.watch(loop, scorer)
            collect_by_hand()

            def report() -> None:
                self._report(loop.counters.report() | {"state": loop.state, "span": loop.span})

            def between_batches() -> None:
                features, lineup = self._features.newest() or scorer.features, self._models.newest()
                newer = features is not scorer.features or lineup is not scorer.lineup
                if newer and loop.change(lineup, features):
                    logger.info("scoring with model %s and features %s", scorer.model_version, features.version)
                    collect_by_hand()
                self._watch_challenger(scorer)
                report()

            try:
                loop.run(self._stopping, between_batches, report)
            except TooManyDeadLetters as error:
                if self._supervised:
                    raise
                self._stand_aside(error)
            self._report(loop.counters.report() | {"state": "stopped", "span": loop.span}, now=True)
        finally:
            self._features.stop()
            if self._projection:
                self._projection.stop()
            self._models.stop()
            self._health.stop()
            server.stop()

    def _stand_aside(self, error: TooManyDeadLetters) -> None:
        """Out of the group, and alive until SIGTERM.

        What restarts a container knows no exit code, and each start would add as many dead letters again. Other errors
        that a person must mend are told before anything is taken, so that a restart does no harm: there the process
        ends, and who rolls out a bad image or a bad model sees it.
        """
        logger.error("%s This scorer has left the group and takes nothing more until it is started again.", error)
        self._health.ended = str(error)
        while not self._stopping():
            self._report({"state": str(error)})
            time.sleep(REPORT_SECONDS)

    def _watch_challenger(self, scorer: Scorer) -> None:
        """A challenger out of its bounds is gone at once here, and as soon as the roles say so everywhere."""
        challenger = scorer.challenger
        reason = challenger and challenger.trial.verdict(challenger.roles.bounds)
        if challenger and reason:
            scorer.challenger = None
            self._models.roll_back(challenger.roles, reason)

    def _stopping(self) -> bool:
        return self._stop or (self._supervised and _stdin_ended())

    def _on_signal(self, *_: object) -> None:
        self._stop = True

    @staticmethod
    def _die_with_supervisor() -> None:
        if sys.platform != "linux":
            return
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # gone between our start and the call: no signal will come
            raise TerminalError("the supervisor is gone")

    def _report(self, report: dict[str, Any], now: bool = False) -> None:
        """Once a second: a JSON line for the supervisor, a touch of the heartbeat for ECS, and garbage collected."""
        if time.monotonic() < self._next_report and not now:
            return
        self._next_report = time.monotonic() + REPORT_SECONDS
        gc.collect()
        if self._heartbeat:
            self._heartbeat.touch()
        if not self._supervised:
            return
        try:
            print(json.dumps(report | {"url": self._url}), flush=True)
        except BrokenPipeError:
            self._stop = True


def collect_by_hand() -> None:
    """Leave what is there now out of the garbage collector's sight, and let nothing but `gc.collect` start it.

    A batch is tens of thousands of objects without a cycle among them. Each time they are counted the collector walks
    through all that are alive: 2.3 of the 12 us that a transaction took.
    """
    gc.collect()
    gc.freeze()
    gc.disable()


def _stdin_ended() -> bool:
    readable, _, _ = select.select([sys.stdin], [], [], 0)
    return bool(readable) and not sys.stdin.read(1)


def main() -> int:
    """Run one scorer; the exit code says whether a restart may help."""
    parser = argparse.ArgumentParser(description="One scorer process of a consumer group.")
    parser.add_argument("--slot", default=f"{os.uname().nodename}-{os.getpid()}", help="names its place for good")
    parser.add_argument("--supervised", action="store_true", help="report on stdout, end when stdin ends")
    parser.add_argument("--projection", action="store_true", help="keep the projection's jobs too, as flows do")
    parser.add_argument("--heartbeat", type=Path, help="a file to touch while it moves, see scoring.heartbeat")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("hazelcast").setLevel(logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.addFilter(FloodFilter())
    try:
        settings = get_settings()
        projection = ProjectionWatch(settings) if arguments.projection else None
        Worker(settings, arguments.slot, arguments.supervised, arguments.heartbeat, projection).run()
    except TerminalError as error:
        logger.error("%s", error)
        return EXIT_TERMINAL
    except FraudflowError as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
