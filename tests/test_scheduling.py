"""The order of tests that several processes share."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.scheduling import longest_first


def pieces(items: list[int], shares: int) -> list[list[int]]:
    """As xdist cuts them: of what is left, each process gets its share."""
    left = list(items)
    cut: list[list[int]] = []
    for share in range(shares, 0, -1):
        size = len(left) // share
        cut.append(left[:size])
        del left[:size]
    return cut


@given(st.lists(st.one_of(st.just(0), st.integers(1, 100))), st.integers(1, 7))
def test_every_process_begins_with_the_longest_that_are_its_own(seconds: list[int], shares: int) -> None:
    ordered = longest_first(range(len(seconds)), lambda item: seconds[item], shares)

    assert sorted(ordered) == list(range(len(seconds)))
    short = [item for item in ordered if not seconds[item]]
    assert short == sorted(short)
    cut = pieces(ordered, shares)
    for piece in cut:
        times = [seconds[item] for item in piece]
        assert times == sorted(times, reverse=True)
    longest = sorted((time for time in seconds if time), reverse=True)[:shares]
    first = sorted((seconds[piece[0]] for piece in cut if piece), reverse=True)
    assert first[: len(longest)] == longest
