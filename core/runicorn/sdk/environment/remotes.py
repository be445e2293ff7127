"""Addresses without credentials."""

from __future__ import annotations

import re

_SCHEME = re.compile(r"(?P<scheme>.*?[a-z][a-z0-9+.-]*://)(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_PLAIN_HOST = re.compile(r"(\[[0-9a-f:.]*\]|[\w.-]*)(:[0-9]*)?([?#].*)?", re.IGNORECASE | re.DOTALL)
_TOKEN = re.compile(
    r"gh[a-z]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|gl[a-z]{2,5}-[\w-]{16,}|AT[A-Z]TT3[\w=-]{16,}|hf_[A-Za-z0-9]{16,}"
    r"|xox[a-z]-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
)


def without_credentials(url: str) -> str:
    """`url` without user info, query and fragment, and with `***` for what looks like an access token.

    Understands URLs (also behind a transport, `ext::https://…`), `user@host:path` as ssh writes it, and local paths.
    In doubt it removes too much: a password that holds an unescaped `/` goes, too.
    """
    match = _SCHEME.match(url)
    if match is None:
        authority = re.split(r"[/\\]", url, maxsplit=1)[0]
        url = url[authority.rfind("@") + 1 :]
    else:
        rest = match["rest"]
        authority = rest.partition("/")[0]
        if "@" in authority:
            rest = rest[authority.rindex("@") + 1 :]
        elif _PLAIN_HOST.fullmatch(authority) is None:
            rest = rest.rpartition("@")[2]
        url = match["scheme"] + re.split(r"[?#]", rest, maxsplit=1)[0]
    return _TOKEN.sub("***", url)
