"""What loading customers costs, in time and in memory, and what a scorer pays to take them up.

    python -m benchmarks.features [--customers 10000 100000 1000000]

Starts a Hazelcast of its own on a free port in a temporary home, and ends it. Each size is loaded in a process
of its own, so that the peak of its memory is its own; the member keeps everything in its heap
(FRAUDFLOW_LOCAL__HAZELCAST_HEAP).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.bench import Bench
from infra.errors import TransientError
from infra.feature_store import FeatureStore
from infra.hazelcast import connect
from infra.local import stack
from infra.settings import LocalSettings, Settings
from scoring.feature_files import read_feature_files
from scoring.features import Features
from simulator.population import simulate_population, write_population

MERCHANTS, SEED = 800, 1


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--customers", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--take-up", choices=("all", "quarter"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.load:
        print(json.dumps(_load(asked.load)))
    elif asked.take_up:
        print(json.dumps(_take_up(asked.take_up == "quarter")))
    else:
        _compare(asked.customers)


def _compare(sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory(prefix="fraudflow-bench-") as folder:
        settings = Settings(local=LocalSettings(home=Path(folder), hazelcast_port=0))
        settings.hazelcast.members = None  # not those that the environment names
        try:
            stack.up(settings, services={stack.HAZELCAST})
            members = json.dumps(stack.with_addresses(settings).hazelcast.members)
            os.environ["FRAUDFLOW_HAZELCAST__MEMBERS"] = members
            print(f"{os.cpu_count()} cores, the member beside\n")
            print(
                "| customers | read and check | load | loader's peak | unchanged | a scorer takes up | scorer's peak "
                "| those of a partition of 4 | scorer's peak |"
            )
            print("|---|---|---|---|---|---|---|---|---|")
            for size in sizes:
                data = Path(folder) / str(size)
                write_population(simulate_population(size, MERCHANTS, SEED), data)
                first, again = _child("--load", str(data)), _child("--load", str(data))
                scorer, quarter = _child("--take-up", "all"), _child("--take-up", "quarter")
                print(
                    f"| {size:,} | {first['read']:.1f} s | {first['load']:.1f} s | {first['peak_mb']:,.0f} MB "
                    f"| {again['load']:.1f} s | {scorer['seconds']:.1f} s | {scorer['peak_mb']:,.0f} MB "
                    f"| {quarter['seconds']:.1f} s | {quarter['peak_mb']:,.0f} MB |",
                    flush=True,
                )
        finally:
            stack.down(settings)


def measure(bench: Bench) -> dict[str, dict[str, float]]:
    """The same on the bench's own servers, whose features are loaded again afterwards."""
    sizes = [10_000, 100_000] if bench.quick else [10_000, 100_000, 1_000_000]
    environment = bench.environment(bench.settings)
    rows = {}
    for size in sizes:
        bench.progress(f"customers: {size:,}")
        data = bench.home / f"customers-{size}"
        write_population(simulate_population(size, MERCHANTS, SEED), data)
        _clear(bench)  # what is loaded already would not be loaded again
        children = {
            "load": _child("--load", str(data), env=environment),
            "scorer": _child("--take-up", "all", env=environment),
            "quarter": _child("--take-up", "quarter", env=environment),
        }
        rows[f"{size:,}"] = {f"{who}_{name}": value for who, told in children.items() for name, value in told.items()}
    _child("--load", str(bench.data), env=environment)
    return rows


def _clear(bench: Bench) -> None:
    client = connect(bench.settings.hazelcast)
    try:
        FeatureStore(client).clear()
    finally:
        client.shutdown()


def _child(*arguments: str, env: dict[str, str] | None = None) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.features", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    if done.returncode:
        raise TransientError(f"{' '.join(arguments)} ended with code {done.returncode}: {done.stderr.strip()[-1000:]}")
    return json.loads(done.stdout)


def _load(data: Path) -> dict[str, float]:
    client = connect(Settings().hazelcast)
    started = time.monotonic()
    tables = read_feature_files(data)
    read = time.monotonic() - started
    FeatureStore(client).load(tables)
    result = {"read": read, "load": time.monotonic() - started - read, "peak_mb": _peak_mb()}
    client.shutdown()
    return result


def _take_up(quarter: bool) -> dict[str, float]:
    """All customers, or those whose cards are in one partition of four, if they are so many that they are cut."""
    client = connect(Settings().hazelcast)
    started = time.monotonic()
    store = FeatureStore(client)
    manifest = store.read_manifest()
    assert manifest is not None, "the load before has left a manifest"  # noqa: S101
    Features(store.read_snapshot(manifest, range(0, manifest.parts, 4) if quarter else None))
    result = {"seconds": time.monotonic() - started, "peak_mb": _peak_mb()}
    client.shutdown()
    return result


def _peak_mb() -> float:
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux `ru_maxrss` begins with what the parent had when it started us.
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
