"""What a training found out, for people to read and for programs to take."""

from typing import Any

from training.metrics import CARDS_A_DAY, Metrics
from training.package import Made

COLUMNS = (
    "model",
    "average precision",
    "ROC AUC",
    "recall at FPR 0.05 %",
    "at 0.1 %",
    "at 0.5 %",
    f"card precision@{CARDS_A_DAY} a day",
    "calibration error",
    "threshold",
    "alerts",
    "precision",
    "recall",
    "saved",
)


def table(judged: dict[str, Metrics]) -> list[dict[str, str]]:
    """One row a model, by its title, for people."""
    rows = []
    for title, metrics in judged.items():
        money = metrics.money
        values = (
            title,
            f"{metrics.average_precision:.3f}",
            f"{metrics.roc_auc:.4f}",
            *(f"{recall:.1%}" for recall in metrics.recall_at_fpr.values()),
            f"{metrics.card_precision:.1%} of {metrics.card_precision_at_best:.1%}",
            f"{metrics.calibration_error:.5f}",
            f"{money.threshold:.3f}",
            f"{money.alerts:,}",
            f"{metrics.precision:.1%}",
            f"{metrics.recall:.1%}",
            f"{money.saved:,.0f}"
            + (f", {money.saved / money.saved_at_best:.0%} of what can be" if money.saved_at_best else ""),
        )
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def markdown(made: Made, judged: dict[str, Metrics], facts: dict[str, Any]) -> str:
    """The report. `facts`: what was done, in lines of a table."""
    metrics, proof, manifest = made.metrics, made.proof, made.manifest
    trained = manifest.trained_on
    lines = [f"| {name} | {value} |" for name, value in facts.items()]
    if trained:
        lines += [
            f"| learnt from | {trained.rows:,} transactions, {trained.fraud:,} of them fraud, {trained.first} to "
            f"{trained.last} |",
        ]
    lines.append(f"| judged on | {metrics.rows:,} later transactions, {metrics.fraud:,} of them fraud |")
    bins = [
        f"| {b.low:g} to {b.high:g} | {b.rows:,} | {b.mean_probability:.5f} | {b.fraud_rate:.5f} |"
        for b in metrics.reliability
    ]
    money = metrics.money
    return f"""## Model {manifest.version}

| | |
|---|---|
{chr(10).join(lines)}

### Side by side, on the same later transactions

{_markdown_table(table(judged))}

`saved`: of {money.loss_without:,.0f} that the fraud of this period would cost without alerts, less the reviews; a
threshold is the one that cost least on the validation part.

### Do the probabilities mean something?

{metrics.expected_fraud:.0f} frauds were expected (the sum of all probabilities), {metrics.fraud:,} came.
Expected calibration error {metrics.calibration_error:.5f}, Brier score {metrics.brier:.5f}.

| probability | transactions | mean probability | share of fraud |
|---|---|---|---|
{chr(10).join(bins)}

### Does the ONNX file answer as LightGBM does?

{proof.rows:,} rows were compared, {proof.split_rows:,} of them on and beside the thresholds of all {proof.splits:,}
splits. Largest difference {proof.largest_difference:.1e}, on average {proof.mean_difference:.1e}; more than 1e-05 is
refused.
"""


def _markdown_table(rows: list[dict[str, str]]) -> str:
    names = list(rows[0])
    lines = [" | ".join(names), " | ".join("---" for _ in names), *(" | ".join(row.values()) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)
