"""Plots of the results as SVG; none where matplotlib, which is for developers, is not installed."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def draw(folder: Path, known: dict[str, Any]) -> dict[str, str]:
    """Draw every measure that has a plot. Returns file names by measure."""
    if not find_spec("matplotlib"):
        return {}
    import matplotlib as mpl  # noqa: PLC0415 - may be missing
    from matplotlib.figure import Figure  # noqa: PLC0415

    # Text stays text, and the same figures give the same bytes.
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "fraudflow",
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    drawn = {}
    with mpl.rc_context(settings):
        for name, plot in _PLOTS.items():
            if name not in known:
                continue
            figure = Figure(figsize=(7, 3.2), layout="constrained")
            plot(figure.subplots(), known[name]["results"])
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            drawn[name] = f"{name}.svg"
    return drawn


def _peers(axes: Any, found: dict[str, Any]) -> None:
    rows = found["rows"][::-1]
    colours = ["tab:blue" if "ours_times_per_second" not in row else "silver" for row in rows]
    bars = axes.barh([row["name"] for row in rows], [1e6 / row["cpu_us"] for row in rows], color=colours)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3)
    axes.set_xlabel("transactions per CPU second")
    axes.margins(x=0.15)


def _breakdown(axes: Any, found: dict[str, Any]) -> None:
    stages = sorted(found["stages"].items(), key=lambda item: item[1]["cpu_us"])
    names = [name for name, _ in stages]
    axes.barh(names, [max(s["wall_us"], s["cpu_us"]) for _, s in stages], color="lightgrey", label="waiting")
    axes.barh(names, [s["cpu_us"] for _, s in stages], color="tab:blue", label="CPU")
    axes.set_xlabel("microseconds per transaction")
    axes.legend(loc="lower right")


def _percentiles(axes: Any, found: dict[str, Any]) -> None:
    rates = [int(rate) for rate in found]
    for name in ("p50", "p99", "p99.9"):
        known = [(rate, run[name]) for rate, run in zip(rates, found.values(), strict=True) if name in run]
        if known:
            axes.plot(*zip(*known, strict=True), marker="o", label=name)
    axes.set_xlabel("transactions/s offered")
    axes.set_ylabel("ms")
    axes.set_ylim(bottom=0)
    if axes.lines:
        axes.legend()


def _latency(axes: Any, found: dict[str, Any]) -> None:
    _percentiles(axes, found)
    axes.set_xscale("log")


def _growth(axes: Any, found: dict[str, Any]) -> None:
    rows = found["rows"]
    names = [f"{run['processes']} on {run['partitions']}" for run in rows]
    bars = axes.bar(names, [run["per_second"] for run in rows], color="tab:blue")
    axes.bar_label(bars, fmt="{:,.0f}")
    axes.set_xlabel("processes on partitions")
    axes.set_ylabel("transactions/s")


def _memory(axes: Any, found: dict[str, Any]) -> None:
    axes.plot([p["transactions"] / 1e6 for p in found["curve"]], [p["rss_mb"] for p in found["curve"]])
    axes.set_xlabel("million transactions")
    axes.set_ylabel("MB resident")
    axes.set_ylim(bottom=0)


_PLOTS: dict[str, Callable[[Any, dict[str, Any]], None]] = {
    "peers": _peers,
    "breakdown": _breakdown,
    "latency": _latency,
    "load": lambda axes, found: _percentiles(axes, found["rates"]),
    "growth": _growth,
    "memory": _memory,
}
