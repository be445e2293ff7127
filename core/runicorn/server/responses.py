"""JSON responses that never fail because of what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

import msgspec
from litestar.response import Response

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
            return msgspec.json.encode(without_surrogates(msgspec.to_builtins(content)))


def without_surrogates(value: object) -> object:
    """`value`, made of builtins, with U+FFFD in place of every lone surrogate."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, Mapping):
        items = cast(Mapping[object, object], value).items()
        return {without_surrogates(key): without_surrogates(item) for key, item in items}
    if isinstance(value, list | tuple):
        return [without_surrogates(item) for item in cast(list[object], value)]
    return value
