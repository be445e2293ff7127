"""What goes wrong with uploads."""

from __future__ import annotations

import errno
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

from runicorn.plugin import BadInput, Conflict, NotFound, RunicornError, StorageUnavailable, Unavailable, shown


class UploadNotFound(NotFound):
    """There is no such upload: it was abandoned, or nobody has continued it for a day."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"Upload not found: {shown(upload_id)}")


class OtherOffset(Conflict):
    """The client continues somewhere else than where the server is; `received` says where that is."""

    def __init__(self, received: int) -> None:
        super().__init__(f"{received} bytes of this content are here: continue there")
        self._received = received

    @property
    def extra(self) -> Mapping[str, object]:
        """See `RunicornError`."""
        return {"received": self._received}


class InReceipt(Conflict):
    """Another request sends the same content at this moment."""

    def __init__(self) -> None:
        super().__init__("This content is being received already")


class Incomplete(Conflict):
    """Contents are missing, for example because what the pool had is damaged."""

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__(f"{len(missing)} contents are missing: send them first")


class Committed(Conflict):
    """The upload has become a version; nothing can be added to it."""

    def __init__(self) -> None:
        super().__init__("This upload is a version already")


class BeingCommitted(Unavailable):
    """Another request makes a version of the upload at this moment: ask again, it answers then."""

    def __init__(self) -> None:
        super().__init__("This upload is still being committed. Ask again in a moment.")

    @property
    def extra(self) -> Mapping[str, object]:
        """See `RunicornError`."""
        return {"committing": True}


class OtherDigest(BadInput):
    """What was received is not what was declared; it was thrown away."""

    def __init__(self, what: str) -> None:
        super().__init__(f"The content received has another digest than the one declared: {shown(what)}")


class NoSpace(RunicornError):
    """The disk is too full for what is sent."""

    status = 507

    def __init__(self) -> None:
        super().__init__("Not enough space left on the server's disk. Nothing was saved.")


@contextmanager
def disk_errors() -> Generator[None]:
    """Turn what a disk says into what a client is told."""
    try:
        yield
    except StorageUnavailable as error:
        raise NoSpace from error
    except OSError as error:
        if isinstance(error, RunicornError):
            raise
        if error.errno == errno.ENAMETOOLONG:
            raise BadInput("Invalid artifact path: too long for the disk of the server") from error
        raise (NoSpace if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageUnavailable) from error
