"""What is not as it should be: each check takes what was measured and gives findings."""

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from infra.settings import MonitorSettings
from monitoring.drift import psi
from monitoring.incidents import Finding
from monitoring.window import Window
from scoring.manifest import ModelManifest
from training.labels import UNKNOWN

DRIFT, QUALITY, OPERATIONS = "drift", "quality", "operations"
SCORE = "score"
# Of a normal distribution, for the bounds of a share: one in forty quiet looks would be beyond it.
_Z = 1.96


@dataclass(frozen=True)
class Quality:
    """Precision and recall of the labelled transactions, at the model's threshold, and what the model promised."""

    labelled: int
    fraud: int
    alerts: int
    found: int
    promised_precision: float | None
    promised_recall: float | None

    @property
    def precision(self) -> float | None:
        """Share of the alerts that are fraud."""
        return self.found / self.alerts if self.alerts else None

    @property
    def recall(self) -> float | None:
        """Share of the fraud that was an alert."""
        return self.found / self.fraud if self.fraud else None


@dataclass(frozen=True)
class Operations:
    """How the pipeline does.

    Attributes:
        lag: transactions that wait.
        dead_letters: open ones of the window.
        predictions: of the window.
        features_loaded: when; None if there are none.
        now: when that was looked at.
    """

    lag: int
    dead_letters: int
    predictions: int
    features_loaded: datetime | None
    now: datetime


@dataclass(frozen=True)
class Drift:
    """How far the newest rows are from the training data.

    Attributes:
        rows: that were looked at.
        index: the stability index of each input and of the score.
        alerts: of the rows, at the model's threshold.
        promised_alerts: as many rows of the training's holdout had; None where the model does not say.
    """

    rows: int
    index: dict[str, float] = field(default_factory=dict)
    alerts: int = 0
    promised_alerts: float | None = None


def drift_of(window: Window, manifest: ModelManifest, alert_threshold: float) -> Drift:
    """The index of everything the model's reference knows, the largest first, and the alerts.

    `alert_threshold` is that of models whose manifest names none.
    """
    inputs, score, reference = window.inputs[window.newest], window.score[window.newest], manifest.reference
    if not len(score):
        return Drift(0)
    index = {name: psi(reference[name], inputs[:, at]) for at, name in enumerate(window.names) if name in reference}
    if SCORE in reference:
        index[SCORE] = psi(reference[SCORE], score)
    rate = manifest.metrics.get("alert_rate")
    return Drift(
        rows=len(score),
        index=dict(sorted(index.items(), key=lambda item: -item[1])),
        alerts=int((score >= np.float32(_threshold(manifest, alert_threshold))).sum()),
        promised_alerts=None if rate is None else rate * len(score),
    )


def _threshold(manifest: ModelManifest, alert_threshold: float) -> float:
    return alert_threshold if manifest.threshold is None else manifest.threshold


def quality_of(window: Window, manifest: ModelManifest, alert_threshold: float) -> Quality:
    """Count what labels have come for; `alert_threshold` is that of models whose manifest names none."""
    known = window.label != UNKNOWN
    alert = window.score[known] >= np.float32(_threshold(manifest, alert_threshold))
    fraud = window.label[known] == 1
    return Quality(
        labelled=int(known.sum()),
        fraud=int(fraud.sum()),
        alerts=int(alert.sum()),
        found=int((alert & fraud).sum()),
        promised_precision=manifest.metrics.get("precision"),
        promised_recall=manifest.metrics.get("recall"),
    )


def facts(drift: Drift, quality: Quality, operations: Operations) -> dict[str, str]:
    """Name and value of what was measured besides drift."""
    loaded = operations.features_loaded
    largest = next(iter(drift.index.items()), None)
    return {
        "sampled predictions": f"{drift.rows:,}",
        "largest PSI": f"{largest[0]}, {largest[1]:.3f}" if largest else "-",
        "alerts": f"{drift.alerts:,}"
        + ("" if drift.promised_alerts is None else f", promised {drift.promised_alerts:,.0f}"),
        "labelled": f"{quality.labelled:,}, {quality.fraud:,} of them fraud",
        "precision": _against(quality.precision, quality.promised_precision),
        "recall": _against(quality.recall, quality.promised_recall),
        "lag": f"{operations.lag:,}",
        "dead letters": f"{operations.dead_letters:,}",
        "features loaded": f"{loaded:%Y-%m-%d %H:%M} UTC" if loaded else "never",
    }


def _against(value: float | None, promised: float | None) -> str:
    now = "-" if value is None else f"{value:.1%}"
    return now if promised is None else f"{now}, promised {promised:.1%}"


def findings_of(drift: Drift, quality: Quality, operations: Operations, settings: MonitorSettings) -> list[Finding]:
    """Everything that is beyond its limit."""
    return [*_drifted(drift, settings), *_worse(quality, settings), *_troubled(operations, settings)]


def _drifted(drift: Drift, settings: MonitorSettings) -> list[Finding]:
    if drift.rows < settings.min_rows:
        return []
    found = [
        Finding(
            f"drift:{name}",
            DRIFT,
            f"{'the score' if name == SCORE else name} has drifted: PSI {index:.2f}, limit {settings.psi:g}",
        )
        for name, index in drift.index.items()
        if index >= settings.psi
    ]
    # The index weighs a tenth of the rows like another tenth; what makes alerts is in the last hundredth.
    if drift.promised_alerts and drift.alerts + drift.promised_alerts >= settings.min_labels:
        factor = drift.alerts / drift.promised_alerts
        if not 1 / settings.alert_factor <= factor <= settings.alert_factor:
            text = f"{drift.alerts:,} of {drift.rows:,} sampled transactions are alerts"
            found.append(Finding("drift:alerts", DRIFT, f"{text}, {factor:.1f} times as many as the model promised"))
    return found


def _worse(quality: Quality, settings: MonitorSettings) -> list[Finding]:
    """A share counts as worse when even the upper bound of its confidence interval is below what may be lost."""
    if quality.fraud < settings.min_labels:
        return []
    found = []
    for name, whole, promised in (
        ("precision", quality.alerts, quality.promised_precision),
        ("recall", quality.fraud, quality.promised_recall),
    ):
        if promised is None or not whole:
            continue
        least = promised * (1 - settings.quality_drop)
        if upper_bound(quality.found, whole) < least:
            text = f"{name} is {quality.found / whole:.1%} of {whole:,} labelled, promised {promised:.1%}"
            found.append(Finding(f"quality:{name}", QUALITY, f"{text}, limit {least:.1%}"))
    return found


def _troubled(operations: Operations, settings: MonitorSettings) -> list[Finding]:
    found = []
    if operations.lag > settings.max_lag:
        text = f"{operations.lag:,} transactions wait to be scored, limit {settings.max_lag:,}"
        found.append(Finding("lag", OPERATIONS, text))
    answers = operations.predictions + operations.dead_letters
    if answers and operations.dead_letters > settings.dead_letter_share * answers:
        text = f"{operations.dead_letters:,} of {answers:,} transactions are dead letters"
        found.append(Finding("dead-letters", OPERATIONS, f"{text}, limit {settings.dead_letter_share:.1%}"))
    loaded = operations.features_loaded
    if loaded is None:
        found.append(Finding("features", OPERATIONS, "no features are loaded: run load-features with your `data`"))
    else:
        hours = (operations.now - loaded).total_seconds() / 3600
        if hours > settings.feature_age_hours:
            text = (
                f"the features are {hours:.0f} hours old, limit {settings.feature_age_hours:g}: does load-features run?"
            )
            found.append(Finding("features", OPERATIONS, text))
    return found


def upper_bound(part: int, whole: int) -> float:
    """Of the Wilson score interval, 95 %."""
    share, z2 = part / whole, _Z**2
    middle = share + z2 / (2 * whole)
    spread = _Z * ((share * (1 - share) + z2 / (4 * whole)) / whole) ** 0.5
    return (middle + spread) / (1 + z2 / whole)
