"""JSON responses that never fail because of what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

import msgspec
from litestar.response import Response

from runicorn.fields import without_surrogates

T = TypeVar("T")


class JsonResponse(Response[T]):
    """The default response: text with lone surrogates is sent with U+FFFD in their place."""

    def render(self, content: Any, media_type: Any, enc_hook: Any = None) -> bytes:
        """Encode `content`; see the base class."""
        try:
            return super().render(content, media_type, enc_hook) if enc_hook else super().render(content, media_type)
        except Exception as error:
            if not isinstance(error.__cause__ or error, UnicodeEncodeError):
                raise
            return msgspec.json.encode(_encodable(msgspec.to_builtins(content)))


def _encodable(value: object) -> object:
    """`value`, made of builtins, with U+FFFD in place of every lone surrogate, in keys, too."""
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, Mapping):
        items = cast(Mapping[object, object], value).items()
        return {_encodable(key): _encodable(item) for key, item in items}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in cast(list[object], value)]
    return value
