"""Results as JSON, as a Markdown page, and as plots."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.plots import draw

Cells = Sequence[object]


def write(folder: Path, name: str, measured: dict[str, Any]) -> Path:
    """Put one measure's results beside those of the others that stand in the folder. Returns the Markdown file."""
    folder.mkdir(parents=True, exist_ok=True)
    store = folder / "results.json"
    known = json.loads(store.read_text()) if store.exists() else {}
    known[name] = measured
    store.write_text(json.dumps(known, indent=1) + "\n")
    plots = draw(folder, known)
    page = folder / "results.md"
    page.write_text("\n".join(_page(known, plots)) + "\n")
    return page


def _page(known: dict[str, Any], plots: dict[str, str]) -> Iterator[str]:
    yield "# Benchmark results"
    yield ""
    yield "Written by `fraudflow bench`. CPU is user and system time of the measured processes, start-up left out."
    for name, section in _SECTIONS.items():
        if name not in known:
            continue
        measured = known[name]
        yield from ("", f"## {name}", "")
        yield from section(measured["results"])
        if name in plots:
            yield from ("", f"![{name}]({plots[name]})")
        yield from ("", _stamp(measured["stamp"]))


def _stamp(facts: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"`{facts['command']}` at {facts['revision']}, {facts['date']}, {facts['machine']}, "
        f"{facts['system']}, {versions}; load before: {facts['load_before']}."
    )


def _table(header: Cells, rows: Sequence[Cells]) -> Iterator[str]:
    yield "| " + " | ".join(map(str, header)) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join("" if cell is None else str(cell) for cell in row) + " |"


def _breakdown(found: dict[str, Any]) -> Iterator[str]:
    yield (
        f"One scorer under stopwatches: {found['per_second']:,.0f} transactions/s, "
        f"{found['cpu_us']:.2f} us of CPU each, "
        f"{found['rows_per_batch']:,.0f} to a batch. Where the wall is longer than the CPU, the thread waits."
    )
    yield ""
    rows = [(stage, f"{t['cpu_us']:.2f}", f"{t['wall_us']:.2f}") for stage, t in found["stages"].items()]
    yield from _table(("stage", "CPU us", "wall us"), rows)


def _throughput(found: dict[str, Any]) -> Iterator[str]:
    yield f"{found['transactions']:,} transactions in the topic beforehand, from the first commit to the last."
    yield ""
    rows = [(name, *_rate(found[name])) for name in ("one process", "two processes", "floor")]
    yield from _table(("", *_RATE), rows)
    yield ""
    runs = "; ".join(
        f"{name} {', '.join(f'{rate:,}' for rate in rates)}"
        for name, rates in found["all runs, transactions/s"].items()
    )
    yield (
        "The floor consumes, decodes, asks the model and produces, and does nothing else. One process takes "
        f"**{found['CPU, times the floor']:.2f} times** its CPU and "
        f"**{found['time, times the floor']:.2f} times** its time. All runs: {runs}."
    )


_RATE = ("transactions/s", "CPU us each", "inference us", "rows a batch", "broker's CPU us", "MB")


def _rate(run: dict[str, Any]) -> Cells:
    inference = run.get("inference_us")
    return (
        f"{run['per_second']:,.0f}",
        f"{run['cpu_us']:.2f}",
        f"{inference:.2f}" if inference else None,
        run.get("rows_per_batch"),
        run["servers_cpu_us"].get("kafka"),
        run["rss_mb"],
    )


def _peers(found: dict[str, Any]) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    yield (
        f"The same topic, features and model; {found['transactions_of_peers']:,} transactions "
        f"({found['transactions']:,} ours), every answer within 1e-5 of ours. {versions}."
    )
    yield ""
    rows = []
    for row in found["rows"]:
        latency = row.get("latency_ms", {})
        rows.append(
            (
                row["name"],
                "exactly-once" if row["exactly_once"] else "at-least-once",
                f"{row['per_second']:,.0f}",
                f"{row['cpu_us']:.2f}",
                _times(row.get("ours_times_per_second")),
                _times(row.get("ours_times_per_cpu_second")),
                _ms(latency.get("p50")),
                _ms(latency.get("p99")),
            )
        )
    header = (
        "", "promises", "transactions/s", "CPU us each", "ours is faster", "ours does more per CPU second",
        "p50 ms at 1,000/s", "p99 ms",
    )  # fmt: skip
    yield from _table(header, rows)


def _times(ratio: float | None) -> str | None:
    return f"{ratio:.1f} x" if ratio else None


def _ms(value: float | None) -> str | None:
    return f"{value:.1f}" if value is not None else None


def _latency(found: dict[str, Any]) -> Iterator[str]:
    yield (
        "From the moment a transaction is due at an open-loop producer to the moment its prediction can be read, "
        "read_committed. The producer's own lateness is part of it."
    )
    yield ""
    yield from _latency_table(found)


def _at_least_once(found: dict[str, Any]) -> Iterator[str]:
    yield "The same with FRAUDFLOW_SCORING__DELIVERY=at-least-once: a prediction can be read as soon as it is written."
    yield ""
    yield from _latency_table(found)


def _latency_table(found: dict[str, Any]) -> Iterator[str]:
    rows = [
        (
            f"{int(rate):,}",
            *(_ms(run.get(name)) for name in ("p50", "p99", "p99.9", "max")),
            f"{run['count']:,.0f}",
            _ms(run["producer_late_p99_ms"]),
        )
        for rate, run in found.items()
    ]
    yield from _table(
        ("transactions/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "measured", "producer late p99 ms"), rows
    )


def _load(found: dict[str, Any]) -> Iterator[str]:
    yield (
        f"At 20, 40, 60 and 80 % of {found['maximum']:,.0f} transactions/s, which one process reached while more was "
        "sent; the sender and the reader are on the same cores."
    )
    yield ""
    yield from _latency_table(found["rates"])


def _end_to_end(found: dict[str, Any]) -> Iterator[str]:
    servers = ", ".join(f"{name} {us}" for name, us in found["servers_cpu_us"].items())
    runs = found.get("all runs, transactions/s")
    new = f"; just started it was {runs[0]:,}/s" if runs else ""
    yield (
        f"Kafka, one scorer and Hazelcast on one machine, until {found['transactions']:,} predictions stand in "
        f"`predictionResult`: **{found['per_second']:,.0f} transactions/s**. "
        f"CPU us each: scorer {found['cpu_us']:.2f}, {servers}. The member was {found['member']}{new}."
    )


def _growth(found: dict[str, Any]) -> Iterator[str]:
    yield f"{found['transactions']:,} transactions, released at one moment to processes that have joined their group."
    yield ""
    rows = [(run["processes"], run["partitions"], *_rate(run)) for run in found["rows"]]
    yield from _table(("processes", "partitions", *_RATE), rows)


def _memory(found: dict[str, Any]) -> Iterator[str]:
    curve = found["curve"]
    later = [point["rss_mb"] for point in curve[len(curve) // 10 :]]
    yield (
        f"One process over {found['transactions']:,} transactions: {found['per_second']:,.0f}/s, "
        f"{found['cpu_us']:.2f} us of CPU each. "
        f"Its memory after the first tenth: {min(later):,.0f} to {max(later):,.0f} MB, "
        f"at the end {curve[-1]['rss_mb']:,.0f} MB."
    )


def _customers(found: dict[str, Any]) -> Iterator[str]:
    rows = [
        (
            size,
            f"{run['load_read']:.1f} s",
            f"{run['load_load']:.1f} s",
            f"{run['load_peak_mb']:,.0f} MB",
            f"{run['scorer_seconds']:.1f} s",
            f"{run['scorer_peak_mb']:,.0f} MB",
            f"{run['quarter_seconds']:.1f} s",
            f"{run['quarter_peak_mb']:,.0f} MB",
        )
        for size, run in found.items()
    ]
    header = (
        "customers",
        "read, checked",
        "load",
        "loader's peak",
        "a scorer takes them up",
        "scorer's peak",
        "those of one partition of 4",
        "scorer's peak",
    )
    yield from _table(header, rows)
    yield ""
    yield "Up to 50,000 customers are one part; more are cut, and a scorer may hold the parts of its partitions alone."


def _history(found: dict[str, Any]) -> Iterator[str]:
    yield (
        f"CPU of `History.observe` for each transaction, {found['cards']:,} cards in one partition, by batch size, "
        "and the memory of their pasts."
    )
    yield ""
    observed = found["observe"]
    sizes = list(observed[0]["us"])
    rows = [
        (
            run["a_day"],
            f"{run['in_7_days']:.0f}",
            *(f"{run['us'][size]:.1f}" for size in sizes),
            f"{run['bytes_per_event']:.0f}",
            f"{run['bytes_per_card']:,.0f}",
        )
        for run in observed
    ]
    batches = (f"us, batches of {int(size):,}" for size in sizes)
    yield from _table(
        ("transactions of a card a day", "of them in 7 days", *batches, "bytes an event", "bytes a card"), rows
    )
    taken, snapshot = found["take over"], found["take over"]["snapshot"]
    yield ""
    yield f"Until the histories of {taken['partitions']} partitions are there again, all rows within the windows:"
    yield ""
    rows: list[Cells] = [
        (
            "the log",
            f"{run['rows']:,}",
            f"{run['seconds']:.1f}",
            f"{run['rows'] / run['seconds']:,.0f}",
            f"{run['mb']:,.0f}",
        )
        for run in taken["log"]
    ]
    rows.append(("snapshots that stand for", f"{snapshot['rows']:,}", f"{snapshot['seconds']:.1f}", None, None))
    yield from _table(("from", "rows", "seconds", "rows/s", "MB"), rows)
    yield ""
    yield (
        f"To write those snapshots took {snapshot['written']:.1f} s beside the scoring, which stood still for "
        f"{snapshot['pause_ms']:.1f} ms at most."
    )


def _shadow(found: dict[str, Any]) -> Iterator[str]:
    yield (
        f"The champion's latency at {found['rate']:,} transactions/s, as above, without and with a challenger as large "
        "in the shadow, in turn on one scorer."
    )
    yield ""
    rows = [
        (
            name,
            *(_ms(found[key].get(q)) for q in ("p50", "p99", "p99.9")),
            *(", ".join(f"{ms:.1f}" for ms in found[key][q]) for q in ("p50s", "p99s")),
            f"{found[key]['count']:,.0f}",
        )
        for name, key in (("alone", "alone"), ("with a shadow", "shadow"))
    ]
    yield from _table(("", "p50 ms", "p99 ms", "p99.9 ms", "p50 of each turn", "p99 of each turn", "measured"), rows)
    ratios = (f"{q} {found['shadow'][q] / found['alone'][q]:.3f} times" for q in ("p50", "p99") if q in found["alone"])
    yield ""
    yield f"With a shadow by without: {', '.join(ratios)}."


_SECTIONS: dict[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    "peers": _peers,
    "throughput": _throughput,
    "breakdown": _breakdown,
    "end-to-end": _end_to_end,
    "latency": _latency,
    "latency-at-least-once": _at_least_once,
    "load": _load,
    "growth": _growth,
    "memory": _memory,
    "customers": _customers,
    "history": _history,
    "shadow": _shadow,
}
