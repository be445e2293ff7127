"""The sources that are asked, each with the read model that it compares with.

One that raises, does not return or says what is no event is asked no more: that concerns this source alone. So is one whose
read model has stopped, as it could not compare any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from runicorn.contributions import checked_event
from runicorn.events.envelope import Payload
from runicorn.host import describe
from runicorn.patience import BUILT_IN
from runicorn.projection.model import ReadModel

logger = logging.getLogger("runicorn.projection")


class Named(Protocol):
    """A source of any kind."""

    name: str


S = TypeVar("S", bound=Named)
T = TypeVar("T")

Observed = tuple[float | None, Payload]


class AskedSources(Generic[S]):
    """Sources of one kind. Iterate over it for those that are asked."""

    def __init__(self, sources: Sequence[tuple[ReadModel, S]]) -> None:
        self.failed: dict[str, str] = {}
        """Plugins whose source failed, with the reason; their other work goes on."""
        self.is_complete = True
        """Whether all are still asked. If not, the next process shall ask about what was seen meanwhile."""
        self._sources = list(sources)

    def __iter__(self) -> Iterator[S]:
        return (source for model, source in list(self._sources) if not model.is_closed)

    def __bool__(self) -> bool:
        return any(not model.is_closed for model, _ in self._sources)

    def ask(self, what: str, question: Callable[[S, ReadModel], Iterable[T]]) -> list[T]:
        """What they all answer; `what` is asked about is for the log."""
        answers: list[T] = []
        for model, source in list(self._sources):
            if model.is_closed:
                self.is_complete = False
                self._sources.remove((model, source))
                continue
            try:
                with model.patience.call(model.plugin, f"source {source.name}"):
                    answers += list(question(source, model))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a stranger's code: whatever it raises concerns this source alone
                logger.error("source %s is disabled: it failed on %s", source.name, what, exc_info=error)
                self.failed[model.plugin] = f"source {source.name}: {describe(error)}"
                self._sources.remove((model, source))
                self.is_complete = False
        return answers

    def observe(self, what: str, question: Callable[[S, ReadModel], Iterable[Observed]]) -> list[Observed]:
        """Like `ask`, for events to record; what a stranger's source says is checked first."""

        def asked(source: S, model: ReadModel) -> Iterable[Observed]:
            said = question(source, model)
            return said if model.plugin in BUILT_IN else [checked_event(event) for event in said]

        return self.ask(what, asked)

    def replace_model(self, old: ReadModel, new: ReadModel) -> None:
        """Compare with the read model `new` from now on, where `old` was used."""
        self._sources = [(new if model is old else model, source) for model, source in self._sources]
