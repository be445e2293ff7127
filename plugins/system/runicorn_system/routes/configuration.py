"""`GET /api/config`, `POST /api/config/user_root_dir`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import get, post
from litestar.params import JSONBody
from litestar.status_codes import HTTP_200_OK

from runicorn.plugin import API_VERSION, Serving, Store, config_file, configured_root


class Configuration(msgspec.Struct, frozen=True):
    """Where things are."""

    user_root_dir: str
    """The root that the user has configured; empty if none."""
    storage: str
    """The root in use, whatever chose it."""
    config_file: str
    """Given whether or not the file exists."""
    version: str
    """Of the API."""


class WantedRoot(msgspec.Struct, frozen=True):
    """Where runs are to be stored."""

    path: Annotated[
        Any,  # what it may be is checked with texts of our own
        msgspec.Meta(
            description="A string: an absolute path; a leading ~ and $VARIABLES are expanded. Missing directories are made."
        ),
    ] = None


class RootChanged(msgspec.Struct, frozen=True):
    """The root is stored and in use."""

    ok: bool
    user_root_dir: str
    storage: str
    message: str


@get("/api/config", operation_id="get_config", sync_to_thread=True)
def get_config(store: Store) -> Configuration:
    """The configuration in use."""
    return Configuration(configured_root(), str(store.root), str(config_file()), API_VERSION)


@post("/api/config/user_root_dir", operation_id="set_user_root_dir", status_code=HTTP_200_OK)
async def set_user_root_dir(data: JSONBody[WantedRoot], serving: Serving) -> RootChanged:
    """Store another storage root for this user, and switch the running server to it at once.

    It switches even if `--storage` or `RUNICORN_DIR` chose the old root; those win again at the next start. An error
    leaves both the configuration and the server as they were.
    """
    root = await serving.change_root(data.path)
    return RootChanged(True, str(root), str(serving.store.root), "User root directory updated successfully")
