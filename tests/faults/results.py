"""What a run of the faults saw, as a table for people and as JSON; where `FAULTS_RESULTS` says, else nowhere."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import confluent_kafka
import onnxruntime

from infra.local import jars
from tests.faults import mutations
from tests.faults.case import Report

VARIABLE = "FAULTS_RESULTS"
COMMAND_VARIABLE = "FAULTS_COMMAND"


def machine() -> dict[str, str]:
    """Where it was seen, and with what."""
    model = next(
        (
            line.partition(": ")[2]
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    servers = {jar.artifact: jar.version for server in ("kafka", "hazelcast") for jar in jars.locked(server)}
    versions = {
        "Python": platform.python_version(),
        "Kafka": servers["kafka_2.13"],
        "Hazelcast": servers["hazelcast-sql"],
        "confluent-kafka": confluent_kafka.version(),
        "librdkafka": confluent_kafka.libversion()[0],
        "ONNX Runtime": onnxruntime.__version__,
    }
    cores = len(os.sched_getaffinity(0))
    return {
        "machine": f"{cores} cores ({model}), {memory:.0f} GiB, {platform.system()} {platform.release()}",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


def write(reports: list[Report], **more: object) -> None:
    """Write `<FAULTS_RESULTS>.md` and `.json`."""
    target = os.environ.get(VARIABLE)
    if not target:
        return
    disturbed = [r for r in reports if r.case != "calm"]
    broken = [r for r in disturbed if r.mutation]
    judged = [r.verdict for r in disturbed if r.verdict]
    totals: dict[str, int] = (
        {"mutations": len(broken), "found": sum(bool(r.failure) for r in broken)}
        if broken
        else {
            "cases": len(disturbed),
            "failed": sum(bool(r.failure) for r in disturbed),
            "kills": sum(r.kills for r in disturbed),
            "other faults": sum(r.faults for r in disturbed),
            "transactions": sum(v.counts["transactions"] for v in judged),
            "lost": sum(v.counts["lost"] + v.counts["unscored"] for v in judged),
            "doubled": sum(v.counts["duplicated"] for v in judged),
            "different probability": sum(v.counts["different"] for v in judged),
        }
    )
    about = {
        "command": os.environ.get(COMMAND_VARIABLE, ""),
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
    } | machine()
    about |= {name: str(value) for name, value in more.items()}
    rows = [
        {
            "case": r.case,
            "what": r.what,
            "mutation": r.mutation,
            "kills": r.kills,
            "other_faults": r.faults,
            "seconds": round(r.seconds, 1),
            "longest_standstill_seconds": round(r.standstill, 1),
            "recovery_seconds": None if r.recovery is None else round(r.recovery, 1),
            "failure": r.failure,
            "verdict": r.verdict.to_json() if r.verdict else None,
        }
        for r in reports
    ]
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"about": about, "totals": totals, "cases": rows}
    path.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
    lines = [f"# {path.stem.capitalize()}: what was seen", ""]
    lines += [f"- {name}: {value}" for name, value in about.items() if value]
    lines += ["", "**" + ", ".join(f"{count:,} {name}" for name, count in totals.items()) + "**", ""]
    lines += _mutations(broken, disturbed) if broken else _cases(reports)
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")


def _mutations(broken: list[Report], all_reports: list[Report]) -> list[str]:
    lines = [
        "Each rule of consume-transform-produce is broken in the scorers of one case, by tests/faults/mutations.py.",
        "The same case holds when it is not broken.",
        "",
        "| rule broken | case | not broken | broken: what was found |",
        "|---|---|---|---|",
    ]
    for r in broken:
        calm = next((other for other in all_reports if other.case == f"{r.mutation}_unbroken"), None)
        unbroken = "not run" if calm is None else calm.failure or "holds"
        rule = (mutations.ALL[r.mutation].__doc__ or "").strip()
        found = r.failure.removeprefix("AssertionError: ")[:300] or "NOTHING: NOT FOUND"
        lines.append(f"| `{r.mutation}`: {rule} | {r.what} | {unbroken} | {found.replace('|', '/')} |")
    return lines


def _cases(reports: list[Report]) -> list[str]:
    lines = [
        "Each case is verified by `fraudflow verify`'s code: A nothing lost, B nothing doubled, C in order, D every",
        "probability equal to the calm run's bit by bit, E committed offsets never ahead of the answers (watched",
        "throughout). Standstill: the longest time in which readers saw no new answer. Back: from the moment in which",
        "the broker that was away answers again to the next answer that readers saw.",
        "",
        "| case | transactions | dead letters | kills | other faults | lost | doubled | different | invariants | "
        "standstill s | back s | s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in reports:
        if r.verdict is None:
            state = f"FAILED: {r.failure}" if r.failure else "not finished"
            lines.append(f"| {r.what} | | | {r.kills} | {r.faults} | | | | {state} | | | |")
            continue
        c = r.verdict.counts
        back = "" if r.recovery is None else f"{r.recovery:.1f}"
        held = " ".join(check.letter for check in r.verdict.checks if check.state == "held")
        broken = " ".join(check.letter for check in r.verdict.checks if check.state == "violated")
        state = held + (f", VIOLATED {broken}" if broken else "") + (f", FAILED: {r.failure}" if r.failure else "")
        lines.append(
            f"| {r.what} | {c['transactions']:,} | {c['dead_letters']:,} | {r.kills} | {r.faults} | {c['lost']} | "
            f"{c['duplicated']} | {c['different']} | {state} | {r.standstill:.1f} | {back} | {r.seconds:.0f} |"
        )
    return lines
