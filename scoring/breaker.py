"""Stops scoring when too much of the input is bad: that is another kind of input, and not a few bad records."""

from collections import Counter, deque

from infra.errors import TerminalError
from infra.settings import ScoringSettings
from scoring.metrics import Counters


class TooManyDeadLetters(TerminalError):
    """Most of the newest transactions are dead letters; all of them are committed, and so is their place in the input.

    A scorer that starts again begins to count anew, and adds as many dead letters before it notices.
    """


class DeadLetterBreaker:
    """Watches the share of dead letters among the newest transactions."""

    def __init__(self, settings: ScoringSettings):
        self._share, self._window = settings.dead_letter_share, settings.dead_letter_window
        self._batches: deque[tuple[int, Counter[str]]] = deque()
        self._transactions = 0
        self._reasons: Counter[str] = Counter()

    def add(self, batch: Counters) -> None:
        """Count a committed batch, and forget those that the window no longer needs."""
        self._batches.append((batch.transactions, batch.reasons))
        self._transactions += batch.transactions
        self._reasons += batch.reasons
        while self._transactions - self._batches[0][0] >= self._window:
            transactions, reasons = self._batches.popleft()
            self._transactions -= transactions
            self._reasons -= reasons

    def beyond(self, letters: int, transactions: int) -> bool:
        """Whether so many dead letters are too many of so many transactions."""
        return letters > self._share * transactions

    def check(self) -> None:
        """Nothing, as long as most of the input can be scored.

        Raises:
            TooManyDeadLetters: that is not so.
        """
        letters = self._reasons.total()
        if self._transactions < self._window or not self.beyond(letters, self._transactions):
            return
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in self._reasons.most_common(3))
        raise TooManyDeadLetters(
            f"{letters:,} of the last {self._transactions:,} transactions are dead letters ({reasons}): not a few bad "
            "records, but another kind of input, or features of other data. Look at them with `fraudflow "
            "dead-letters`, mend the sender or load the right features, start the scorers again, and then send them "
            "again with `fraudflow dead-letters resend`. FRAUDFLOW_SCORING__DEAD_LETTER_SHARE is the limit."
        )
