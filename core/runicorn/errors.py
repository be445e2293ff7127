"""Errors that users see.

    RunicornError              500
    ├── BadInput               400   the request or argument is wrong; sending it again cannot help
    │   └── InvalidName        400   a project, name, id or path segment that must not become a path
    ├── Forbidden              403
    ├── NotFound               404
    │   └── RunNotFound
    ├── Conflict               409   the thing exists already, or its state forbids the action
    ├── TooLarge               413
    └── Unavailable            503   a needed dependency (storage, database, tool) does not answer
        ├── StorageUnavailable       the root or the state directory cannot be read or written
        └── ReadModelBehind          the event is safe in the log, the answer is not ready yet

The HTTP status belongs to the class, the JSON body to one function of the server. Texts say what went wrong and what to
do; they carry no absolute paths, no secrets and no text of a library's exception.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
V = TypeVar("V")


class RunicornError(Exception):
    """Base of the errors that users see."""

    status = 500

    @property
    def extra(self) -> Mapping[str, object]:
        """Further keys for the JSON answer."""
        return {}


class BadInput(RunicornError):
    """The input is wrong. `errors` lists every wrong field as `(field, message)` where there are several."""

    status = 400

    def __init__(self, detail: str, errors: list[tuple[str, str]] | None = None) -> None:
        super().__init__(detail)
        self.errors = errors or []


class WrongFields:
    """Collects what is wrong with several fields of one request, so that its error names them all.

        wrong = WrongFields()
        tags = wrong.of("tags", checked_tags, data.tags)
        size = wrong.of("size", checked_size, data.size)
        wrong.refuse()

    What is done with the fields comes behind that.
    """

    def __init__(self) -> None:
        self._found: list[tuple[str, BadInput]] = []

    def of(self, field: str, check: Callable[P, V], *args: P.args, **kwargs: P.kwargs) -> V:
        """What `check` returns. If it raises BadInput, the result is None, and `refuse` ends what is being done."""
        try:
            return check(*args, **kwargs)
        except BadInput as error:
            self._found.append((field, error))
            return cast(V, None)

    def refuse(self) -> None:
        """Raise the BadInput that was found first, with the list of all of them; nothing if all is right."""
        if self._found:
            _, error = self._found[0]
            error.errors = [(field, reason_of(field, found)) for field, found in self._found]
            raise error


def reason_of(field: str, error: BadInput) -> str:
    """The text of an error about a field, without naming the field again."""
    return "required" if str(error).startswith("Missing ") else str(error).removeprefix(f"Invalid value for {field}: ")


class InvalidName(BadInput, ValueError):
    """A name from outside that must not become a path segment; also a `ValueError` for SDK users."""


class Forbidden(RunicornError):
    """The caller may not do this."""

    status = 403


class NotFound(RunicornError):
    """There is no such thing."""

    status = 404


class RunNotFound(NotFound):
    """No run has this id, or it is in the recycle bin."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"Run not found: {shown(run_id)}")


class Conflict(RunicornError):
    """The thing exists already, or its state forbids the action."""

    status = 409


class TooLarge(RunicornError):
    """A body or upload beyond its limit."""

    status = 413

    def __init__(self, detail: str = "Request body too large") -> None:
        super().__init__(detail)


class Unavailable(RunicornError):
    """A needed dependency does not answer; trying again later may help."""

    status = 503


class StorageUnavailable(Unavailable):
    """The storage root or the state directory cannot be read or written."""

    def __init__(self, detail: str = "Storage unavailable") -> None:
        super().__init__(detail)


class ReadModelBehind(Unavailable):
    """A command's event is in the log, but the projector did not confirm it in time."""

    def __init__(self) -> None:
        super().__init__("The change is recorded, but the read model has not caught up yet. Try again in a moment.")


def shown(text: str) -> str:
    """`text` as an error may repeat it: at most 128 characters, no control characters, no lone surrogates."""
    clean = "".join(c for c in text if c.isprintable())
    return clean.encode("utf-8", "replace").decode()[:128]
