"""From features to the matrix that a model asks for: any static and online inputs, in any order."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from scoring.features import MODEL_INPUTS, Batch
from scoring.history import ONLINE_INPUTS, Events

INPUT_NAMES = (*MODEL_INPUTS, *ONLINE_INPUTS)
"""All inputs that there are, static and online."""
_PLACE = {name: i for i, name in enumerate(INPUT_NAMES)}


class InputMatrix:
    """The inputs of one model."""

    def __init__(self, names: Sequence[str]):
        """Args: `names` are from `INPUT_NAMES`, in the model's order."""
        self.names = tuple(names)
        self._static = self.names == MODEL_INPUTS
        self._places = np.array([_PLACE[name] for name in names], np.intp)

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


def events_of(batch: Batch) -> Events:
    """What a history is told of a batch."""
    return Events(
        batch.customer, batch.merchant, batch.category, batch.time, batch.amount, batch.latitude, batch.longitude
    )


def observe(
    batch: Batch,
    partitions: NDArray[np.integer],
    observe_one: Callable[[int, Events, NDArray[np.intp]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """The online inputs of a batch, from the histories of its partitions.

    Args:
        batch: consecutive rows of each partition's log.
        partitions: of each row.
        observe_one: is given a partition, its events, and which rows of the batch they are.

    Returns:
        float32 [N, len(ONLINE_INPUTS)].
    """
    events = events_of(batch)
    online = np.empty((len(partitions), len(ONLINE_INPUTS)), np.float32)
    for number in np.unique(partitions).tolist():
        rows = np.flatnonzero(partitions == number)
        online[rows] = observe_one(number, events.take(rows), rows)
    return online
