"""Which vectors are one person's: against scipy, by properties, and where there is little to go by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_server.speakers import clustering
from stream_server.speakers.clustering import ENOUGH, MOST_CLUSTERS, SHARE, THRESHOLD, Clusters, Nodes, Vectors

DIMENSION = 48
ALL = 1e-6
"""``enough`` with which every cluster is somebody."""


def unit(vector: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def axis(number: int) -> NDArray[np.float32]:
    return np.eye(DIMENSION, dtype=np.float32)[number]


def pair(cosine: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return axis(0), unit(cosine * axis(0) + np.sqrt(1 - cosine**2) * axis(1))


def voices(who: list[int], seed: int, spread: float = 0.06) -> Vectors:
    """A vector for each utterance, near the axis of whoever speaks it."""
    rng = np.random.default_rng(seed)
    return np.array([unit(axis(speaker) + spread * rng.standard_normal(DIMENSION)) for speaker in who])


def grouped(vectors: Vectors, count: int | None = None, *, most: int = 1000, enough: float = ALL) -> Clusters:
    nodes = Nodes(most, enough=enough)
    for vector in vectors:
        nodes.add(vector, 1.0)
    return nodes.cluster(count)


def partition(labels: NDArray[np.intp]) -> list[int]:
    """The labels in order of first appearance, so that two partitions can be compared."""
    order = {label: place for place, label in enumerate(dict.fromkeys(labels.tolist()))}
    return [order[label] for label in labels.tolist()]


@pytest.mark.parametrize("threshold", [0.05, 0.2, THRESHOLD, 0.6])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_average_linkage_of_scipy(seed: int, threshold: float, monkeypatch: pytest.MonkeyPatch) -> None:
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy", reason="the extra `bench` is not installed")
    monkeypatch.setattr(clustering, "THRESHOLD", threshold)
    rng = np.random.default_rng(seed)
    vectors = np.array([unit(row) for row in rng.standard_normal((28, 5)) + 0.4])
    tree = hierarchy.linkage(vectors.astype(np.float64), "average", metric="cosine")
    cut = hierarchy.fcluster(tree, 1 - threshold, "distance")
    assert partition(grouped(vectors).of) == partition(cut)
    assert 1 < len(set(cut)) < 28
    for count in (1, 2, 5, 28):
        assert partition(grouped(vectors, count).of) == partition(hierarchy.fcluster(tree, count, "maxclust"))


@pytest.mark.parametrize(("cosine", "speakers"), [(THRESHOLD + 0.01, 1), (THRESHOLD - 0.01, 2)])
def test_two_are_one_from_the_threshold_on(cosine: float, speakers: int) -> None:
    assert len(grouped(np.array(pair(cosine))).centers) == speakers


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_the_order_does_not_matter(who: list[int], random: object) -> None:
    vectors = voices(who, 1)
    order = list(range(len(who)))
    random.shuffle(order)  # type: ignore[attr-defined]
    found = grouped(vectors[order]).of
    assert partition(found[np.argsort(order)]) == partition(np.array(who))


@pytest.mark.parametrize("most", [8, 9, 20, 50])
def test_few_nodes_hold_many_vectors(most: int) -> None:
    who = [int(speaker) for speaker in np.random.default_rng(3).integers(0, 4, 300)]
    nodes, vectors = Nodes(most), voices(who, 2)
    for number, vector in enumerate(vectors):
        nodes.add(vector, 1.0)
        assert len(nodes) == number + 1
        assert len(nodes._sums) <= most
    clusters = nodes.cluster()
    assert partition(clusters.of) == partition(np.array(who))
    assert np.array_equal(clusters.nearest(vectors), clusters.of)
    whole = grouped(vectors).centers
    assert np.sort((clusters.centers @ whole.T).max(axis=1))[0] > 0.9999  # no vector was lost or counted twice


def test_joining_nodes_keeps_their_weight() -> None:
    """Else whoever spoke long ago would be nobody."""
    nodes = Nodes(4)
    for vector in voices([0] * 20 + [1] * 3, 4):
        nodes.add(vector, 1.0)
    assert sum(nodes._weights) == pytest.approx(23)
    assert sum(nodes._sizes) == 23
    assert partition(nodes.cluster().of) == [0] * 20 + [1] * 3


def test_the_first_cluster_has_said_the_most_and_centers_have_length_one() -> None:
    who = [2] * 3 + [0] * 9 + [1] * 5
    clusters = grouped(voices(who, 5))
    assert clusters.of.tolist() == [2] * 3 + [0] * 9 + [1] * 5
    assert np.linalg.norm(clusters.centers, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.diag(clusters.centers @ np.array([axis(0), axis(1), axis(2)]).T) == pytest.approx(1, abs=0.05)


def odd() -> Nodes:
    """Two people, and a sound that is unlike both."""
    nodes = Nodes()
    for speaker, weight in ((0, 20.0), (1, 0.97 * SHARE * 40), (2, 20.0)):
        nodes.add(axis(speaker), weight)
    return nodes


def test_who_has_said_next_to_nothing_is_nobody() -> None:
    clusters = odd().cluster()
    assert clusters.of.tolist() == [0, -1, 1]
    assert clusters.nearest(unit(axis(1) + 0.1 * axis(2))[None]).tolist() == [1]
    assert np.array_equal(clusters.centers, [axis(0), axis(2)]), "it has no part in what they are like"


def test_an_odd_sound_takes_nobodys_place_where_two_are_asked_for() -> None:
    clusters = odd().cluster(2)
    assert clusters.of[0] != clusters.of[2]
    assert len(clusters.centers) == 2


def test_so_much_is_enough_however_long_the_others_speak() -> None:
    nodes = Nodes()
    for speaker, weight in ((0, 5000.0), (1, ENOUGH), (2, ENOUGH - 0.1)):
        nodes.add(axis(speaker), weight)
    assert nodes.cluster().of.tolist() == [0, 1, -1]


def test_in_a_short_recording_little_is_enough() -> None:
    nodes = Nodes()
    for speaker, weight in ((0, 9.0), (1, 1.0)):
        nodes.add(axis(speaker), weight)
    assert nodes.cluster().of.tolist() == [0, 1]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_there_are_as_many_as_are_said_to_be(count: int) -> None:
    clusters = grouped(voices([0] * 8 + [1] * 8 + [2] * 8, 6), count, enough=2.0)
    assert set(clusters.of.tolist()) - {-1} == set(range(count)) == set(range(len(clusters.centers)))


def test_there_may_be_a_crowd_if_it_is_said_to_be_one() -> None:
    crowd = np.eye(DIMENSION, dtype=np.float32)
    assert len(grouped(crowd, MOST_CLUSTERS + 8).centers) == MOST_CLUSTERS + 8


def test_likest_are_joined_first_where_there_should_be_fewer() -> None:
    near, other = pair(0.3)
    assert grouped(np.array([axis(5), near, other]), 2).of.tolist() == [1, 0, 0]


def test_where_there_cannot_be_so_many_it_finds_out_by_itself() -> None:
    assert grouped(voices([0, 1, 0, 1], 7), 9).of.tolist() == [0, 1, 0, 1]
    assert grouped(voices([3], 7), 2).of.tolist() == [0]


def test_two_who_are_alike_are_told_apart_if_two_are_asked_for() -> None:
    near, other = pair(0.9)
    vectors = np.array([near, near, other, other])
    assert grouped(vectors).of.tolist() == [0, 0, 0, 0]
    assert grouped(vectors, 2).of.tolist() == [0, 0, 1, 1]


def test_there_is_an_end_to_clusters() -> None:
    clusters = grouped(np.eye(DIMENSION, dtype=np.float32))
    assert len(clusters.centers) == MOST_CLUSTERS == len(set(clusters.of.tolist()) - {-1})
    assert (clusters.of == -1).sum() == DIMENSION - MOST_CLUSTERS


def test_where_nobody_has_said_enough_there_is_one() -> None:
    """Each of so many has said less than the share that makes one somebody."""
    nodes = Nodes()
    for speaker in range(DIMENSION):
        nodes.add(axis(speaker), 1.1 if speaker == 7 else 1.0)
    assert np.flatnonzero(nodes.cluster().of == 0).tolist() == [7]


def test_the_same_vector_again_and_again() -> None:
    assert grouped(np.array([axis(0)] * 30), most=10).of.tolist() == [0] * 30


def test_opposites_are_two() -> None:
    assert grouped(np.array([axis(0), -axis(0)])).of.tolist() == [0, 1]
