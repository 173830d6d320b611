"""Which stretches of speech are one person's: agglomerative clustering of voice vectors. Pure numpy.

Average linkage on cosines: the likeness of two clusters is the mean of that of their members, which for unit vectors is
the product of the clusters' sums over the product of their sizes. So a cluster is a sum and a size, and many vectors
can be held in few nodes. It knows nothing of audio, of time or of labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

THRESHOLD: Final = 0.4
"""Mean cosine from which on two clusters are one person's; measured, see docs/decisions/011-speakers.md."""

SHARE: Final = 0.03
ENOUGH: Final = 6.0
"""A cluster that has said less than this share of everything, and less than so much, is nobody: an odd sound, or two
voices at once."""

MOST_CLUSTERS: Final = 32
MOST_NODES: Final = 1000
_TAKEN: Final = -9.0  # below every cosine
_TINY: Final = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """``of``: the cluster of every vector, -1 for those of nobody. ``centers``: ``[clusters, dimension]``, of length
    1."""

    of: NDArray[np.intp]
    centers: Vectors

    def nearest(self, vectors: Vectors) -> NDArray[np.intp]:
        """The cluster that each of ``vectors [n, dimension]`` is likest to."""
        likest: NDArray[np.intp] = np.argmax(vectors @ self.centers.T, axis=1)
        return likest


class Nodes:
    """Vectors with weights, in at most ``most`` nodes: beyond that the likest are joined, down to half of it.

    ``enough``: see `ENOUGH`.
    """

    def __init__(self, most: int = MOST_NODES, *, enough: float = ENOUGH) -> None:
        self._most = most
        self._enough = enough
        self._sums: list[NDArray[np.float32]] = []
        self._sizes: list[int] = []
        self._weights: list[float] = []
        self._nodes: list[int] = []  # of every vector added

    def __len__(self) -> int:
        return len(self._nodes)

    def add(self, vector: NDArray[np.float32], weight: float) -> None:
        """Another unit vector; ``weight``: seconds of speech it stands for, more than none."""
        assert weight > 0
        self._nodes.append(len(self._sums))
        self._sums.append(vector)
        self._sizes.append(1)
        self._weights.append(weight)
        if len(self._sums) > self._most:
            self._shrink(self._most // 2)

    def cluster(self, count: int | None = None) -> Clusters:
        """Who is who; ``count``: how many there should be. There has to be a vector."""
        weights = np.array(self._weights)
        enough = min(self._enough, SHARE * float(weights.sum()))
        labels = _significant(weights, _merges(self._sums, self._sizes), count, enough)
        centers = np.zeros((int(labels.max()) + 1, len(self._sums[0])), np.float32)
        np.add.at(centers, labels[labels >= 0], np.array(self._sums)[labels >= 0])
        centers /= np.maximum(np.linalg.norm(centers, axis=1, keepdims=True), _TINY)
        return Clusters(labels[np.array(self._nodes)], centers)

    def _shrink(self, size: int) -> None:
        merges = _merges(self._sums, self._sizes)[: len(self._sums) - size]
        roots = _roots(len(self._sums), [(into, gone) for into, gone, _ in merges])
        kept = np.unique(roots)
        place = np.searchsorted(kept, roots)
        sums, sizes, weights = np.zeros((size, len(self._sums[0])), np.float32), [0] * size, [0.0] * size
        for node, new in enumerate(place):
            sums[new] += self._sums[node]
            sizes[new] += self._sizes[node]
            weights[new] += self._weights[node]
        self._sums, self._sizes, self._weights = list(sums), sizes, weights
        self._nodes = [int(place[node]) for node in self._nodes]


def _merges(sums: Sequence[Vectors], sizes: Sequence[int]) -> list[tuple[int, int, float]]:
    """What is joined in which order: (into, gone, likeness), until one is left."""
    total = np.array(sums, np.float32)
    size = np.array(sizes, np.float32)
    likeness = (total @ total.T) / np.outer(size, size)
    np.fill_diagonal(likeness, _TAKEN)
    left = np.ones(len(total), bool)
    merges = []
    for _ in range(len(total) - 1):
        into, gone = divmod(int(likeness.argmax()), len(total))
        merges.append((into, gone, float(likeness[into, gone])))
        total[into] += total[gone]
        size[into] += size[gone]
        left[gone] = False
        row = (total @ total[into]) / (size * size[into])
        row[~left] = _TAKEN
        row[into] = _TAKEN
        likeness[into], likeness[:, into] = row, row
        likeness[gone] = likeness[:, gone] = _TAKEN
    return merges


def _significant(
    weights: NDArray[np.float64], merges: Sequence[tuple[int, int, float]], count: int | None, enough: float
) -> NDArray[np.intp]:
    """The cluster of every node, by the cut that is asked for; -1 where a cluster is nobody."""
    steps = _steps_to(weights, merges, count, enough) if count is not None else None
    if steps is None:
        steps = next((step for step, (_, _, likeness) in enumerate(merges) if likeness < THRESHOLD), len(merges))
    roots = _roots(len(weights), [(into, gone) for into, gone, _ in merges[:steps]])
    said = np.bincount(roots, weights, len(weights))
    kept = np.flatnonzero(said >= enough)
    if not len(kept):
        kept = np.array([said.argmax()])
    most = MOST_CLUSTERS if count is None else count
    kept = kept[np.argsort(-said[kept], kind="stable")[:most]]
    labels = np.full(len(weights), -1, np.intp)
    labels[kept] = np.arange(len(kept))
    clusters: NDArray[np.intp] = labels[roots]
    return clusters


def _steps_to(
    weights: NDArray[np.float64], merges: Sequence[tuple[int, int, float]], count: int, enough: float
) -> int | None:
    """After how many joins there are so many clusters of some weight: the latest such moment, so that each has as much
    as it can. None if there never are."""
    said = weights.copy()
    some = int((said >= enough).sum())
    found = 0 if some >= count else None
    for step, (into, gone, _) in enumerate(merges, 1):
        some -= int(said[into] >= enough) + int(said[gone] >= enough)
        said[into] += said[gone]
        some += int(said[into] >= enough)
        if some >= count:
            found = step
    return found


def _roots(count: int, joins: Sequence[tuple[int, int]]) -> NDArray[np.intp]:
    """The node that each of ``count`` has ended in."""
    into = np.arange(count)
    for kept, gone in reversed(joins):  # from the last: where a node goes is known before who went into it
        into[gone] = into[kept]
    return into
