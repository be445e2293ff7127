"""How commands print JSON: readable by every program, and harmless on a terminal."""

from __future__ import annotations

import re

import click

# JSON itself escapes those below U+0020; a terminal also obeys these, such as U+009B, which begins a control sequence.
_CONTROLS = re.compile("[\x7f-\x9f]")


def print_json(value: object, *, indented: bool = False) -> None:
    """Print a value (of structs, too) as JSON on standard output, on one line unless it is to be `indented`.

    Bytes of file names that are no UTF-8 are U+FFFD.
    """
    import msgspec

    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError:
        from runicorn.files import dump_json

        encoded = dump_json(msgspec.to_builtins(value))
    click.echo(without_controls((msgspec.json.format(encoded) if indented else encoded).decode()))


def without_controls(text: str) -> str:
    """JSON that means the same, with all control characters in its strings as `\\u…`."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
