"""The cases that happen to scorers. Each feeds, disturbs, and waits until everything is scored; `judge` follows."""

import signal
import time

from scoring.consumer import SESSION_TIMEOUT_MS
from tests.faults.case import Case
from tests.faults.plan import POINTS

# Past it, the group gives a frozen scorer's partitions to another.
SESSION_SECONDS = SESSION_TIMEOUT_MS / 1000
ROWS = 6_000


def killed_at(point: str, turn: int, milliseconds: int = 0):
    """Kill -9 at a point of the loop, then a successor in the same slot."""

    def scenario(case: Case) -> None:
        case.feed(ROWS)
        case.spawn("0", f"kill@{point}:{turn}:{milliseconds}")
        case.killed("0")
        case.spawn("0")
        case.drain()

    scenario.__doc__ = f"A scorer is killed -9 at {point}, and started again."
    return scenario


def zombie(point: str):
    """A scorer stands still past its session; another takes over; then it wakes and goes on where it was."""

    def scenario(case: Case) -> None:
        case.feed(ROWS)
        frozen = case.spawn("0", f"stop@{point}:5")
        case.stopped(frozen.pid)
        before = case.settled()
        case.spawn("1")
        case.answered(before)  # by the other alone
        time.sleep(1)
        frozen.send_signal(signal.SIGCONT)
        case.drain()

    scenario.__doc__ = f"A scorer is frozen at {point} past its session, another takes over, then it wakes."
    return scenario


def aborted(case: Case) -> None:
    """Transactions end with an error after which they can only be aborted; the scorer lives on."""
    case.feed(ROWS)
    case.spawn("0", "abort@after_offsets:3,abort@in_commit:6")
    case.drain()


def aborted_before_the_next(case: Case) -> None:
    """A commit fails late, when the next transaction has all that it needs to end: it must not."""
    case.feed(ROWS)
    case.spawn("0", "hold@in_commit:6,abort@in_commit:6")
    case.answered(0)
    case.settled()
    case.release("in_commit")
    case.drain()


def aborted_and_killed(case: Case) -> None:
    """Aborts one upon the other over several partitions, then a kill: the book alone knows what was processed."""
    case.feed(ROWS)
    case.spawn("0", "abort@after_offsets:12,kill@after_commit:13")
    case.killed("0")
    case.spawn("0")
    case.drain()


def aborted_input(case: Case) -> None:
    """Somebody else's transaction in the input was aborted."""
    case.feed(1_000)
    case.feed_and_abort(500)
    case.feed(1_000)
    case.spawn("0")
    case.drain()


def joined(case: Case) -> None:
    """A second scorer joins the group, and leaves it again."""
    case.feed(10_000, rate=3_000)
    case.spawn("0")
    case.answered(500)
    case.spawn("1")
    case.members(2)
    case.sent(30)
    case.feed(10_000, rate=3_000)
    case.answered(case.progress + 2_000)
    case.terminate("1")
    case.drain()


def joined_inside_a_take(case: Case) -> None:
    """The partitions change hands while a batch is being taken, and the other has answered it before we go on."""
    case.feed(ROWS)
    case.spawn("0", "hold@before_consume:5,hold@before_metadata:5")
    case.answered(0)
    case.spawn("1")
    case.members(2)
    time.sleep(SESSION_SECONDS / 2)  # the first hears of it at its next heartbeat
    case.release("before_consume")
    case.settled()
    case.release("before_metadata")
    case.drain()


def slow_and_killed(case: Case) -> None:
    """A batch takes long, and the scorer dies before its commit."""
    case.feed(ROWS)
    case.spawn("0", "sleep@after_begin:5:1500,kill@after_offsets:5")
    case.killed("0")
    case.spawn("0")
    case.drain()


def kill_points() -> dict[str, tuple[str, int, int]]:
    """Every point once, and the moments inside the commit."""
    points = {point: (point, 6, 0) for point in POINTS}
    return points | {f"in_commit+{ms}ms": ("in_commit", 6, ms) for ms in (2, 5, 10)}
