"""Text → tokens. A word ends at white space, quotes, parentheses, commas and operators; all other signs may be in it."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias

from runicorn_query.language.errors import InvalidQuery
from runicorn_query.language.fields import Segment

Kind: TypeAlias = Literal["word", "text", "operator", "(", ")", ",", "end"]

_SPACE = re.compile(r"\s*")
_BARE = re.compile(r"[^\s\"'(),=!<>~]+")
_OPERATOR = re.compile(r"!=|<=|>=|==|=|<|>|~")
_STRING = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


class Token(NamedTuple):
    """A part of the query. `column` counts from 1."""

    kind: Kind
    text: str
    """Of a text: what is between the quotes, without escapes. Of a word: as written."""
    column: int
    segments: tuple[Segment, ...] = ()
    """Of a word: its parts between dots, some of which may be quoted."""

    def is_keyword(self, *keywords: str) -> bool:
        """Whether this is one of these words, in any case."""
        return self.kind == "word" and self.text.lower() in keywords


def tokens(query: str) -> list[Token]:
    """All tokens of `query`, the last one of kind `end`. InvalidQuery at the first sign that cannot begin one."""
    found: list[Token] = []
    at = _skip_space(query, 0)
    while at < len(query):
        sign = query[at]
        column = at + 1
        if sign in "(),":
            found.append(Token(sign, sign, column))  # type: ignore[arg-type]  # one of the three
            at += 1
        elif sign in "\"'":
            text, at = _string(query, at)
            found.append(Token("text", text, column))
        elif (operator := _OPERATOR.match(query, at)) is not None:
            found.append(Token("operator", "=" if operator[0] == "==" else operator[0], column))
            at = operator.end()
        elif sign == "!":
            raise InvalidQuery("`!` alone is no operator: write `not` or `!=`", query, column)
        else:
            word, at = _word(query, at)
            found.append(word)
        at = _skip_space(query, at)
    found.append(Token("end", "", len(query) + 1))
    return found


def _word(query: str, start: int) -> tuple[Token, int]:
    """A word, with quoted parts behind its dots."""
    segments: list[Segment] = []
    at = start
    is_open = True  # whether a quote here would begin a part of the name
    while at < len(query):
        bare = _BARE.match(query, at)
        if bare is not None:
            text = bare[0]
            if not is_open and not text.startswith("."):
                break
            parts = text.split(".") if is_open else text[1:].split(".")
            segments.extend(Segment(part, False) for part in parts)
            at = bare.end()
            is_open = text.endswith(".")
        elif is_open and segments and query[at] in "\"'":
            segments.pop()  # the nothing behind the last dot
            text, at = _string(query, at)
            segments.append(Segment(text, True))
            is_open = False
        else:
            break
    return Token("word", query[start:at], start + 1, tuple(segments)), at


def _string(query: str, start: int) -> tuple[str, int]:
    match = _STRING.match(query, start)
    if match is None:
        raise InvalidQuery("this quote is never closed", query, start + 1)
    inner = match[1] if match[1] is not None else match[2]
    return _ESCAPE.sub(r"\1", inner), match.end()


def _skip_space(query: str, at: int) -> int:
    match = _SPACE.match(query, at)
    return at if match is None else match.end()
