"""Purchases as columns, before they become text: what honest people and fraudsters both produce."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Purchases:
    """Columns of equal length.

    Attributes:
        second: int64, since the start of the simulated period.
        customer, merchant: int64, numbers in the world.
        amount: float64, US dollars, whole cents.
        latitude, longitude: float64, degrees, of the shop.
        kind: int8, 0 for honest, else 1 + the place in `fraud.KINDS`.
    """

    second: np.ndarray
    customer: np.ndarray
    merchant: np.ndarray
    amount: np.ndarray
    latitude: np.ndarray
    longitude: np.ndarray
    kind: np.ndarray

    def __len__(self) -> int:
        return len(self.second)

    def take(self, rows: np.ndarray | slice) -> Self:
        """These rows."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    def in_time_order(self) -> Self:
        """Sorted by second; rows of the same second keep their order."""
        return self.take(np.argsort(self.second, kind="stable"))


def together(parts: list[Purchases]) -> Purchases:
    """All parts, one after the other."""
    return Purchases(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Purchases)))
