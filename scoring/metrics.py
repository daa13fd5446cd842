"""Counts and latencies of a scorer, cheap enough for every batch, and mergeable over processes."""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Logarithmic buckets from 1 us to 1,000 s, 20 a decade: a quantile is known within 12 %.
_PER_DECADE = 20
_BUCKETS = 9 * _PER_DECADE + 1


@dataclass
class Histogram:
    """Latencies in logarithmic buckets."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BUCKETS, np.int64))

    def add(self, seconds: float, count: int) -> None:
        """Count `count` events of the same latency."""
        bucket = math.ceil(math.log10(max(seconds, 1e-6) * 1e6) * _PER_DECADE)
        self.counts[min(bucket, _BUCKETS - 1)] += count

    def quantile_ms(self, q: float) -> float | None:
        """The upper edge, in milliseconds, of the bucket that holds the quantile; None without events."""
        total = int(self.counts.sum())
        if not total:
            return None
        bucket = int(np.searchsorted(np.cumsum(self.counts), q * total))
        return round(10 ** (bucket / _PER_DECADE) / 1000, 3)

    def cumulative(self) -> tuple[list[tuple[str, int]], float]:
        """For Prometheus: events up to each upper edge in seconds, four edges a decade; and the sum, by the edges."""
        below = np.cumsum(self.counts)
        edges = 10 ** (np.arange(_BUCKETS) / _PER_DECADE) / 1e6
        step = _PER_DECADE // 4
        buckets = [(f"{edges[i]:.3g}", int(below[i])) for i in range(2 * _PER_DECADE, _BUCKETS, step)]
        return [*buckets, ("+Inf", int(below[-1]))], float(self.counts @ edges)

    def to_sparse(self) -> dict[str, int]:
        """The filled buckets, for JSON."""
        return {str(i): int(self.counts[i]) for i in np.flatnonzero(self.counts)}

    def merge_sparse(self, sparse: dict[str, int]) -> None:
        """Add what `to_sparse` gave."""
        for bucket, count in sparse.items():
            self.counts[int(bucket)] += count


@dataclass
class Counters:
    """What a scorer has committed since it started."""

    transactions: int = 0
    predictions: int = 0
    dead_letters: int = 0
    alerts: int = 0
    known_fraud: int = 0
    known_fraud_found: int = 0
    batches: int = 0
    aborts: int = 0
    inference_ns: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    """Dead letters by reason."""
    latency: Histogram = field(default_factory=Histogram)

    def add(self, other: "Counters") -> None:
        """Count what the other counted."""
        for name, value in vars(other).items():
            if name == "latency":
                self.latency.counts += value.counts
            else:
                setattr(self, name, getattr(self, name) + value)

    def report(self) -> dict[str, Any]:
        """One JSON object."""
        return vars(self) | {"latency": self.latency.to_sparse()}
