"""The monitor's report as a page that people can open: every input, as it was learnt from and as it is."""

from html import escape
from pathlib import Path

import plotly.graph_objects as go
from plotly.io import to_html
from plotly.offline import get_plotlyjs

from monitoring.checks import SCORE, Drift, Operations, Quality, facts
from monitoring.drift import shares_now, shares_then
from monitoring.incidents import Finding
from monitoring.window import Window
from scoring.manifest import Distribution, ModelManifest

KEPT = 50
_SCRIPT = "plotly.min.js"
_THEN, _NOW = "#94a3b8", "#2563eb"
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem auto;padding:0 1rem;color:#0f172a}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem;border-bottom:1px solid #e2e8f0;text-align:left}
.bad{color:#b91c1c;font-weight:600}h2{margin-top:2.5rem}"""


def write_report(
    directory: Path,
    name: str,
    manifest: ModelManifest,
    window: Window,
    drift: Drift,
    quality: Quality,
    operations: Operations,
    findings: list[Finding],
) -> Path:
    """Write `<name>.html`, beside the script that its charts need; of older reports the newest `KEPT` stay."""
    directory.mkdir(parents=True, exist_ok=True)
    told = "".join(f"<li class=bad>{escape(finding.text)}</li>" for finding in findings) or "<li>nothing</li>"
    inputs, score = window.inputs[window.newest], window.score[window.newest]
    parts = []
    for column, index in drift.index.items():
        values = score if column == SCORE else inputs[:, window.names.index(column)]
        chart = _chart(manifest.reference[column], shares_now(manifest.reference[column], values))
        drawn = to_html(chart, include_plotlyjs=False, full_html=False)
        parts.append(f"<h3>{escape(column)}: PSI {index:.3f}</h3>{drawn}")
    rows = "".join(f"<tr><td>{name}<td>{value}" for name, value in facts(drift, quality, operations).items())
    page = f"""<!doctype html><html lang=en><meta charset=utf-8><title>Monitor {escape(name)}</title>
<script src="{_SCRIPT}"></script><style>{_STYLE}</style>
<h1>Model {escape(manifest.version)}, {escape(name)}</h1>
<h2>What is not as it should be</h2><ul>{told}</ul>
<h2>How it does</h2><table>{rows}</table>
<h2>Drift</h2>
<p>The share of the transactions in each bin: <b style="color:{_THEN}">then</b>, in the training data, and
<b style="color:{_NOW}">now</b>, in {drift.rows:,} sampled ones. A bin is named by its lower edge.</p>
{"".join(parts)}</html>"""
    script = directory / _SCRIPT
    if not script.exists():
        script.write_text(get_plotlyjs(), encoding="utf-8")
    path = directory / f"{name}.html"
    path.write_text(page, encoding="utf-8")
    for old in sorted(directory.glob("*.html"))[:-KEPT]:
        old.unlink()
    return path


def _chart(reference: Distribution, now: list[float]) -> go.Figure:
    lower = [f"{edge:.4g}" for edge in reference.edges[:-1]] or ["known"]
    names = [*lower, "missing"]
    chart = go.Figure(
        [
            go.Bar(x=names, y=shares_then(reference), name="then", marker_color=_THEN),
            go.Bar(x=names, y=now, name="now", marker_color=_NOW),
        ]
    )
    chart.update_layout(
        height=220,
        margin={"l": 40, "r": 10, "t": 10, "b": 30},
        xaxis={"type": "category"},
        yaxis={"tickformat": ".0%"},
        template="plotly_white",
        showlegend=False,
    )
    return chart
