"""What a challenger in the shadow does to the champion's latency: with and without it in turn, on one scorer."""

import hashlib
import time
from typing import Any

import httpx
import msgspec
import numpy as np
import onnx

from benchmarks.bench import Bench
from benchmarks.latency import Reader, paced_run, percentiles, positions_of
from benchmarks.pacing import due_ns
from benchmarks.processes import Measured, scorers, wait_for_group
from infra.errors import TransientError
from infra.model_store import Bounds, ModelStore, Package, Roles
from scoring.manifest import decode_manifest, encode_manifest
from scoring.model import PROJECT_MODEL, read_package

_RATE = 1_000
_TURNS, _QUICK_TURNS = 4, 1
_SECONDS = 10.0
# Until batches have found their size again; not counted.
_SETTLE_SECONDS = 2.0
_WARM_SECONDS = 15.0
_ROLES_SECONDS = 10.0


def measure(bench: Bench) -> dict[str, Any]:
    """Percentiles of both, of all turns together and of each."""
    turns = _QUICK_TURNS if bench.quick else _TURNS
    settings = bench.fresh()
    store = ModelStore(settings.kafka)
    champion = read_package(PROJECT_MODEL)
    challenger = _twin(champion)
    for package in (champion, challenger):
        store.publish(package)
    alone = Roles(champion=champion.version)
    free = Bounds(highest_alert_rate=1.0, inference_factor=1e9)
    beside = Roles(champion=champion.version, challenger=challenger.version, mode="shadow", bounds=free)
    generation = store.assign(alone, 0).generation
    warm, counted = round(_RATE * _WARM_SECONDS), round(_RATE * (_SETTLE_SECONDS + _SECONDS))
    total = warm + 2 * turns * counted
    positions = positions_of(bench, total)
    found: dict[str, list[np.ndarray]] = {"alone": [], "shadow": []}
    reader = Reader(settings)
    try:
        with scorers(bench, settings) as measured:
            wait_for_group(settings, measured)
            paced_run(bench, settings, measured, reader, positions, _RATE, _WARM_SECONDS, 0, total)
            for turn in range(2 * turns):
                # without, with, with, without: what changes slowly counts for both
                name, roles = (("alone", alone), ("shadow", beside))[(turn + 1) // 2 % 2]
                generation = store.assign(roles, generation).generation
                _wait_for(measured, roles)
                bench.progress(f"shadow: turn {turn + 1} of {2 * turns}, {name}")
                skip = warm + turn * counted
                arrived, paced = paced_run(
                    bench, settings, measured, reader, positions, _RATE, _SETTLE_SECONDS + _SECONDS, skip, total
                )
                latency = (arrived - due_ns(paced["start_ns"], np.arange(counted), _RATE)) / 1e6
                found[name].append(latency[round(_RATE * _SETTLE_SECONDS) :])
    finally:
        reader.close()
    bench.drop(settings)
    return {
        "rate": _RATE,
        **{
            name: percentiles(np.concatenate(turns)) | {"p50s": _of_each(turns, 50), "p99s": _of_each(turns, 99)}
            for name, turns in found.items()
        },
    }


def _of_each(turns: list[np.ndarray], q: float) -> list[float]:
    return [float(np.percentile(turn, q, method="higher")) for turn in turns]


def _twin(package: Package) -> Package:
    """A model that does the same and is another file: as good a challenger as any, and as dear."""
    model = onnx.load_model_from_string(package.model)
    model.doc_string = "challenger"
    data = model.SerializeToString()
    manifest = decode_manifest(package.manifest, "the champion")
    digest = hashlib.sha256(data).hexdigest()
    named = msgspec.structs.replace(manifest, version=digest[:16], sha256=digest)
    return Package(data, encode_manifest(named), package.booster)


def _wait_for(measured: Measured, roles: Roles) -> None:
    """Until the scorer says that it has these."""
    deadline = time.monotonic() + _ROLES_SECONDS
    while time.monotonic() < deadline:
        measured.check()
        url = measured.last_reports()[0].get("url")
        health = httpx.get(f"{url}/health").json() if url else {}
        if health.get("model") == roles.champion and (health.get("challenger") or {}).get("model") == roles.challenger:
            return
        time.sleep(0.1)
    raise TransientError("the scorer did not take the roles")
