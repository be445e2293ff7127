"""What waits for its turn, and when the first round is over."""

from __future__ import annotations

from runicorn.projection.backlog import Backlog


def test_items_ahead_belong_to_the_first_round_and_are_asked_for_when_it_is_their_turn() -> None:
    asked: list[int] = []

    def ahead():
        for number in range(100):
            asked.append(number)
            yield number

    backlog: Backlog[int] = Backlog()
    backlog.begin(ahead(), 100)
    assert len(backlog) == 100
    assert not asked
    turns: list[int] = []
    while not backlog.is_past_first_round:
        assert backlog
        items = backlog.first(8)
        turns += items
        backlog.done(items)
        assert len(asked) <= len(turns) + 8
    assert turns == list(range(100))
    assert not backlog


def test_more_or_fewer_items_ahead_than_were_announced_all_get_their_turn() -> None:
    for announced in (1, 50, 200):
        backlog: Backlog[int] = Backlog()
        backlog.begin(iter(range(100)), announced)
        turns: list[int] = []
        while not backlog.is_past_first_round:
            items = backlog.first(7)
            turns += items
            backlog.done(items)
        assert turns == list(range(100))
        assert len(backlog) == 0


def test_what_is_put_off_and_what_comes_in_keep_nothing_ahead_waiting() -> None:
    backlog: Backlog[int] = Backlog()
    for number in range(1000, 1020):
        backlog.add(number)
    backlog.begin(iter(range(50)), 50)
    done: set[int] = set()
    for turn in range(60):
        backlog.add(2000 + turn)
        for item in backlog.first(8):
            if 1000 <= item < 1020:
                backlog.again(item)
            else:
                backlog.done([item])
                done.add(item)
    assert done.issuperset(range(50))
    assert not backlog.is_past_first_round
    backlog.done(range(1000, 1020))
    assert backlog.is_past_first_round


def test_an_item_that_is_ahead_and_waiting_gets_one_turn() -> None:
    backlog: Backlog[int] = Backlog()
    backlog.begin(iter(range(10)), 10)
    backlog.add(3)
    items = backlog.first(20)
    assert sorted(items) == list(range(10))
    backlog.done(items)
    assert backlog.is_past_first_round
    assert not backlog
