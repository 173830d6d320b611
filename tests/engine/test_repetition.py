import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_server.engine.repetition import find_loop


@pytest.mark.parametrize(
    ("tokens", "keep"),
    [
        ([5] * 8, 1),
        ([1, 2, 5, 5, 5, 5, 5, 5, 5, 5], 3),
        ([9] + [1, 2, 3] * 5, 4),
        ([9] + [1, 2, 3, 4, 5] * 4, 6),
        (list(range(12)) * 3, 12),
        ([7, 8] + [1, 2] * 9, 4),
    ],
)
def test_a_loop_is_cut_to_one_occurrence(tokens: list[int], keep: int) -> None:
    assert find_loop(tokens) == keep


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        [5],
        [5] * 5,  # no no no no no
        [1, 2] * 4,  # no, no, no, no,
        [1, 2, 3] * 3,
        [1, 2, 3, 4, 5] * 2,  # a sentence said twice
        [5] * 8 + [6],  # a loop that ended
        list(range(40)),
    ],
)
def test_what_people_say_is_left_alone(tokens: list[int]) -> None:
    assert find_loop(tokens) is None


@given(st.lists(st.integers(0, 3), max_size=40))
def test_what_is_kept_is_a_shorter_beginning(tokens: list[int]) -> None:
    keep = find_loop(tokens)
    assert keep is None or 0 < keep < len(tokens)
