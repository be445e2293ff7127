"""Following the files of a log: every line of every file, once and in order."""

# ruff: noqa: ASYNC110, ASYNC240 (the tests play the writers of the files, on the same loop)

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import pytest

from runicorn_runs.logs.follow import LogFollower, LogUnreadable
from runicorn_runs.logs.watch import LogWatch

DEADLINE_S = 20.0


class Reader:
    """Reads frames of a follower with a deadline."""

    def __init__(self, follower: LogFollower) -> None:
        self.follower = follower
        self._read: list[str] = []

    async def frames(self, count: int) -> list[str]:
        async with asyncio.timeout(DEADLINE_S):
            while len(self._read) < count:
                self._read += await self.follower.next_frames()
        taken, self._read = self._read[:count], self._read[count:]
        return taken

    async def is_silent(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                self._read += await self.follower.next_frames()
        except TimeoutError:
            pass
        return not self._read


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs.txt"


def following(
    log: Path,
    scenario: Callable[[Reader], Awaitable[None]],
    *,
    lines: int = 10_000,
    offset: int | None = None,
    ended: bool = False,
) -> None:
    """Run `scenario` with a follower of `log`."""

    async def run() -> None:
        watch = LogWatch()
        try:
            async with watch.follow(log, lambda: ended, lines=lines, offset=offset) as follower:
                await scenario(Reader(follower))
        finally:
            await watch.close()

    asyncio.run(run())


def append(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def descriptors(log: Path) -> list[str]:
    names = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return [os.readlink(name) for name in names if os.path.lexists(name) and str(log) in os.readlink(name)]


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.01)


def numbered(prefix: str, numbers: Iterable[int]) -> list[str]:
    return [f"{prefix} {number}" for number in numbers]


def text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def test_appended_lines_arrive_in_order(log: Path) -> None:
    log.write_text("first\n")

    async def scenario(reader: Reader) -> None:
        assert await reader.frames(1) == ["first"]
        for number in range(5):
            append(log, f"{number}\n")
            assert await reader.frames(1) == [str(number)]

    following(log, scenario)


def test_a_truncated_file_is_read_again_from_its_start(log: Path) -> None:
    log.write_text(text(numbered("old", range(100))))

    async def scenario(reader: Reader) -> None:
        await reader.frames(100)
        log.write_text("new\n")
        assert await reader.frames(1) == ["new"]
        append(log, "newer\n")
        assert await reader.frames(1) == ["newer"]

    following(log, scenario)


def test_a_truncated_file_that_is_longer_again_at_once_loses_no_line(log: Path) -> None:
    log.write_text(text(numbered("old", range(100))))
    new = numbered("new", range(500))

    async def scenario(reader: Reader) -> None:
        await reader.frames(100)
        log.write_text(text(new))
        assert await reader.frames(500) == new

    following(log, scenario)


def test_a_rewritten_file_is_known_by_its_beginning_too(log: Path) -> None:
    same = "12:34:56 | the same line again\n" * 100
    log.write_text("old\n" + same)

    async def scenario(reader: Reader) -> None:
        await reader.frames(101)
        log.write_text("new\n" + same + "next\n")
        assert (await reader.frames(102))[::101] == ["new", "next"]

    following(log, scenario)


def test_content_replaced_by_as_many_bytes_is_sent(log: Path) -> None:
    log.write_text("one\ntwo\n")

    async def scenario(reader: Reader) -> None:
        await reader.frames(2)
        log.write_text("new\nnow\n")
        os.utime(log, ns=(0, 0))  # whatever the resolution of the file system's clock
        assert await reader.frames(2) == ["new", "now"]

    following(log, scenario)


def test_a_file_cut_to_a_part_of_what_was_sent_is_read_again(log: Path) -> None:
    log.write_text("one\ntwo\n")

    async def scenario(reader: Reader) -> None:
        await reader.frames(2)
        os.truncate(log, 4)
        assert await reader.frames(1) == ["one"]

    following(log, scenario)


def test_touching_the_file_sends_nothing(log: Path) -> None:
    log.write_text("one\n")

    async def scenario(reader: Reader) -> None:
        await reader.frames(1)
        os.utime(log, ns=(0, 0))
        assert await reader.is_silent(0.3)

    following(log, scenario)


def test_the_rest_of_a_renamed_file_comes_before_the_new_one(log: Path) -> None:
    log.write_text("one\n")

    async def scenario(reader: Reader) -> None:
        await reader.frames(1)
        append(log, "two\n")
        log.rename(log.with_suffix(".1"))
        log.write_text("three\n")
        assert await reader.frames(2) == ["two", "three"]

    following(log, scenario)


def test_a_writer_may_go_on_in_the_renamed_file_until_the_new_one_has_content(log: Path) -> None:
    log.write_text("one\n")

    async def scenario(reader: Reader) -> None:
        await reader.frames(1)
        with log.open("a", buffering=1) as old:
            log.rename(log.with_suffix(".1"))
            old.write("two\n")
            assert await reader.frames(1) == ["two"]
            log.touch()
            assert await reader.is_silent(0.2)
            old.write("three\n")
            assert await reader.frames(1) == ["three"]
        append(log, "four\n")
        assert await reader.frames(1) == ["four"]

    following(log, scenario)


def test_an_unterminated_rest_is_sent_before_the_new_file(log: Path) -> None:
    log.write_text("one\nhalf")

    async def scenario(reader: Reader) -> None:
        assert await reader.frames(1) == ["one"]
        replacement = log.with_suffix(".new")
        replacement.write_text("two\n")
        replacement.replace(log)
        assert await reader.frames(2) == ["half", "two"]

    following(log, scenario)


def test_a_removed_file_is_followed_when_it_reappears(log: Path) -> None:
    log.write_text("one\n")

    async def scenario(reader: Reader) -> None:
        await reader.frames(1)
        for number in range(3):
            log.unlink()
            async with asyncio.timeout(DEADLINE_S):
                while descriptors(log):
                    assert await reader.is_silent(0.1)
            log.write_text(f"{number}\n")
            assert await reader.frames(1) == [str(number)]

    following(log, scenario)


def test_a_file_removed_and_made_again_at_once_is_followed(log: Path) -> None:
    log.write_text(text(numbered("old", range(10))))

    async def scenario(reader: Reader) -> None:
        await reader.frames(10)
        append(log, "rest\n")
        log.unlink()
        log.write_text("new\n")
        assert await reader.frames(2) == ["rest", "new"]

    following(log, scenario)


def test_a_reader_that_is_behind_gets_every_file_that_was_rotated_meanwhile(log: Path) -> None:
    log.write_text("0\n")

    async def scenario(reader: Reader) -> None:
        await reader.frames(1)
        for number in range(1, 4):
            known = reader.follower._files[-1]  # pyright: ignore[reportPrivateUsage]  # of this module
            log.rename(log.with_suffix(f".{number}"))
            log.write_text(f"{number}\n")
            await eventually(lambda known=known: reader.follower._files[-1] is not known)  # pyright: ignore
        assert await reader.frames(3) == ["1", "2", "3"]

    following(log, scenario)


def test_lines_survive_any_sequence_of_rotations(log: Path) -> None:
    chance = random.Random(4)
    log.write_text("")

    async def scenario(reader: Reader) -> None:
        number = 0
        for step in range(60):
            match chance.choice(["append", "append", "truncate", "rotate", "replace", "remove"]):
                case "truncate":
                    os.truncate(log, 0)
                case "rotate":
                    log.rename(log.with_suffix(f".{step}"))
                case "replace":
                    log.with_suffix(".new").write_text("")
                    log.with_suffix(".new").replace(log)
                case "remove":
                    log.unlink()
                case _:
                    pass
            lines = numbered("x" * chance.randrange(100), range(number, number + chance.randrange(1, 200)))
            number += len(lines)
            append(log, text(lines))
            assert await reader.frames(len(lines)) == lines

    following(log, scenario)


def test_a_line_written_in_two_halves_is_one_frame(log: Path) -> None:
    log.write_text("one\n")

    async def scenario(reader: Reader) -> None:
        await reader.frames(1)
        append(log, "first half, ")
        assert await reader.is_silent(0.3)
        append(log, "second half\n")
        assert await reader.frames(1) == ["first half, second half"]

    following(log, scenario)


def test_an_unterminated_line_is_sent_when_it_stops_growing(log: Path) -> None:
    log.write_text("one\nhalf")

    async def scenario(reader: Reader) -> None:
        assert await reader.frames(1) == ["one"]
        assert await reader.is_silent(0.5)
        assert await reader.frames(1) == ["half"]
        append(log, " and half\n")
        assert await reader.frames(1) == [" and half"]

    following(log, scenario)


def test_an_unterminated_line_of_an_ended_run_is_sent_at_once(log: Path) -> None:
    log.write_text("one\nhalf")

    async def scenario(reader: Reader) -> None:
        assert not await reader.is_silent(0.5)
        assert await reader.frames(2) == ["one", "half"]

    following(log, scenario, ended=True)


@pytest.mark.parametrize(("offset", "expected"), [(0, ["one", "two"]), (4, ["two"]), (5, ["wo"]), (9, ["one", "two"])])
def test_reading_starts_at_an_offset_and_beyond_the_end_at_the_start(
    log: Path, offset: int, expected: list[str]
) -> None:
    log.write_text("one\ntwo\n")

    async def scenario(reader: Reader) -> None:
        assert await reader.frames(len(expected)) == expected
        assert not reader.follower.older

    following(log, scenario, offset=offset)


def test_at_the_offset_of_the_end_only_new_lines_come(log: Path) -> None:
    log.write_text("one\ntwo\n")

    async def scenario(reader: Reader) -> None:
        assert await reader.is_silent(0.2)
        append(log, "three\n")
        assert await reader.frames(1) == ["three"]

    following(log, scenario, offset=8)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["directory", "named pipe"])
def test_what_is_no_file_is_unreadable(log: Path, make: Callable[[Path], None]) -> None:
    make(log)

    async def scenario(reader: Reader) -> None:
        raise AssertionError("it was followed")

    with pytest.raises(LogUnreadable):
        following(log, scenario)


def test_a_file_that_becomes_a_directory_is_unreadable(log: Path) -> None:
    log.write_text("one\n")

    async def scenario(reader: Reader) -> None:
        await reader.frames(1)
        log.unlink()
        log.mkdir()
        with pytest.raises(LogUnreadable):
            await reader.frames(1)

    following(log, scenario)


def test_followers_that_start_at_once_get_every_line_once(log: Path) -> None:
    log.write_text("one\n")

    async def follow(watch: LogWatch) -> list[str]:
        async with watch.follow(log, lambda: False, lines=10) as follower:
            reader = Reader(follower)
            frames = await reader.frames(1)
            if not started.is_set():
                started.set()
                append(log, "two\n")
            frames += await reader.frames(1)
            assert await reader.is_silent(0.3)
            return frames

    async def run() -> None:
        watch = LogWatch()
        assert await asyncio.gather(*[follow(watch) for _ in range(20)]) == [["one", "two"]] * 20
        await watch.close()

    started = asyncio.Event()
    asyncio.run(run())


def test_followers_of_a_file_share_one_descriptor_and_leave_none(log: Path) -> None:
    log.write_text("one\n")

    async def run() -> None:
        watch = LogWatch()
        async with asyncio.timeout(DEADLINE_S):
            async with (
                watch.follow(log, lambda: False, lines=10) as one,
                watch.follow(log, lambda: False, lines=10) as two,
            ):
                assert await one.next_frames() == await two.next_frames() == ["one"]
                assert len(descriptors(log)) == 1
            # a waiting reader that is cancelled in the middle of a look or read
            for _ in range(20):
                task = asyncio.create_task(follow_for_ever(watch))
                await asyncio.sleep(0.005)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await eventually(lambda: not descriptors(log))
            await eventually(lambda: len(asyncio.all_tasks()) == 1)
        await watch.close()

    async def follow_for_ever(watch: LogWatch) -> None:
        async with watch.follow(log, lambda: False, lines=10) as follower:
            while True:
                await follower.next_frames()

    asyncio.run(run())
