"""The journal of commits: numbers that go on, and epochs that begin where they cannot."""

from __future__ import annotations

from pathlib import Path

from runicorn.projection.journal import Journal, recorded
from runicorn.projection.wire import News
from tests.projecting import InProcess
from tests.stores import make_run, metrics_event


def numbers(state: Path) -> list[int]:
    found = recorded(state)
    assert found is not None
    return [news.number for news in found[1]]


def test_what_is_recorded_is_read_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    told = [journal.record([("p/n/runs/a", 0, 10)]), journal.record([("p/n/runs/a", 10, 20), ("p/n/runs/b", 0, 5)])]
    assert recorded(tmp_path) == (journal.epoch, told)
    assert told[1] == News(journal.epoch, 2, [("p/n/runs/a", 10, 20), ("p/n/runs/b", 0, 5)])


def test_numbers_go_on_after_an_end_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.record([("a", 0, 1)])
    journal.close()
    again = Journal(tmp_path)
    assert (again.epoch, again.number) == (journal.epoch, 1)
    again.close()
    third = Journal(tmp_path)
    assert third.record([("a", 1, 2)]).number == 2
    assert numbers(tmp_path) == [1, 2]


def test_without_an_end_in_order_a_new_epoch_begins(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.record([("a", 0, 1)])
    again = Journal(tmp_path)  # the first one was not closed
    assert again.epoch != journal.epoch
    assert recorded(tmp_path) == (again.epoch, [])


def test_a_projector_that_dies_before_its_first_commit_ends_the_epoch_too(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.close()
    Journal(tmp_path)
    assert Journal(tmp_path).epoch != journal.epoch


def test_old_lines_go_and_the_rest_has_no_gap(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_bytes=1000)
    for offset in range(500):
        journal.record([("p/n/runs/a", offset, offset + 1)])
    kept = numbers(tmp_path)
    assert kept == list(range(kept[0], 501))
    assert 20 < len(kept) < 100
    journal.close()
    assert Journal(tmp_path).number == 500


def test_a_damaged_journal_is_begun_anew(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.close()
    for content in (b"", b"\xff\x00garbage", b"[1, [["):
        (tmp_path / "feed" / f"{journal.epoch}.jsonl").write_bytes(content)
        again = Journal(tmp_path)
        assert again.epoch != journal.epoch
        assert again.record([("a", 0, 1)]).number == 1
        journal = again
    (tmp_path / "feed" / "epoch.json").write_text('{"epoch": "../../etc"}')
    assert recorded(tmp_path) is None


def test_where_nothing_can_be_written_positions_last_as_long_as_the_process(tmp_path: Path) -> None:
    (tmp_path / "feed").write_text("in the way")
    journal = Journal(tmp_path)
    assert [journal.record([("a", 0, 1)]).number for _ in range(3)] == [1, 2, 3]
    assert recorded(tmp_path) is None


class TestWhatIsNews:
    """Ranges of commit notices that no reader has seen before."""

    def news(self, projector: InProcess) -> list[tuple[str, int, int]]:
        projector.work()
        notices = projector.projector.take_notices()
        return [one for notice in notices if notice.news is not None for one in notice.news.ranges]

    def test_what_is_there_at_the_first_build_is_not(self, tmp_path: Path) -> None:
        make_run(tmp_path / "root", "p/n/runs/a", events=metrics_event(global_step=1))
        projector = InProcess(tmp_path / "root", tmp_path / "state")
        assert [one for one in self.news(projector) if one[0] == "p/n/runs/a"] == []

    def test_what_is_appended_later_is_told_once(self, tmp_path: Path) -> None:
        line = metrics_event(global_step=1)
        directory = make_run(tmp_path / "root", "p/n/runs/a", events=line)
        projector = InProcess(tmp_path / "root", tmp_path / "state")
        self.news(projector)
        with open(directory / "events.jsonl", "a") as file:
            file.write(line)
        projector.projector.changed([str(directory / "events.jsonl")])
        assert self.news(projector) == [("p/n/runs/a", len(line), 2 * len(line))]
        projector.projector.changed([str(directory / "events.jsonl")])
        assert self.news(projector) == []

    def test_a_stream_that_was_replaced_is_told_from_its_start(self, tmp_path: Path) -> None:
        directory = make_run(tmp_path / "root", "p/n/runs/a", events=metrics_event(global_step=1) * 3)
        projector = InProcess(tmp_path / "root", tmp_path / "state")
        self.news(projector)
        line = metrics_event(global_step=2)
        (directory / "events.jsonl").write_text(line)
        projector.projector.changed([str(directory / "events.jsonl")])
        assert self.news(projector) == [("p/n/runs/a", 0, len(line))]


def test_while_read_models_are_built_there_is_no_position(tmp_path: Path) -> None:
    Journal(tmp_path).close()
    journal = Journal(tmp_path, is_building=True)
    assert journal.where() is None
    assert recorded(tmp_path) is None
    journal.begin()
    assert journal.where() == News(journal.epoch, 0)
