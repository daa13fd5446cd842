"""From features to the matrix that a model asks for: any static and online inputs, in any order."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scoring.features import MODEL_INPUTS, Batch
from scoring.history import ONLINE_INPUTS, History

_PLACE = {name: i for i, name in enumerate((*MODEL_INPUTS, *ONLINE_INPUTS))}


class InputMatrix:
    """The inputs of one model."""

    def __init__(self, names: Sequence[str]):
        """Args: `names` are from `MODEL_INPUTS` and `ONLINE_INPUTS`, in the model's order."""
        self.names = tuple(names)
        self._static = self.names == MODEL_INPUTS
        self._places = np.array([_PLACE[name] for name in names], np.intp)
        self.online = bool((self._places >= len(MODEL_INPUTS)).any())
        """Whether any of them is an online input."""

    def build(self, static: NDArray[np.float32], online: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """The matrix.

        Args:
            static: [N, len(MODEL_INPUTS)].
            online: [N, len(ONLINE_INPUTS)]; None where no input is an online one.

        Returns:
            float32 [N, len(names)], rows side by side.
        """
        if self._static:
            return static
        every = static if online is None else np.concatenate((static, online), axis=1)
        return np.ascontiguousarray(every[:, self._places])


def observe(history: History, batch: Batch) -> NDArray[np.float32]:
    """The online inputs of a batch of one partition's next rows, which are added to its history.

    Returns:
        float32 [N, len(ONLINE_INPUTS)].
    """
    return history.observe(*_rows(batch))


def remember(history: History, batch: Batch) -> None:
    """Add the rows to the history alone."""
    history.add(*_rows(batch))


def _rows(batch: Batch) -> tuple[NDArray, ...]:
    return batch.customer, batch.merchant, batch.category, batch.time, batch.amount, batch.latitude, batch.longitude
