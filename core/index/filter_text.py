"""Conditions as text, for command lines.

::

    category = 'dress' and price < 50 or color in ('red', 'blue')
    not (brand is null) and title contains 'linen' and in_stock = true and updated_at >= '2026-01-31'

``not`` binds tighter than ``and``, which binds tighter than ``or``. Texts stand in single or double quotes, a
quote in them twice; names of columns stand bare, or in backticks when they are not plain words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from ..errors import InputError
from .conditions import WORDS, And, Compare, Contains, In, Missing, Not, Or, Where
from .literals import Op, Value

_LONGEST, _DEEPEST = 100_000, 50
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    |(?P<name>`(?:[^`]|``)+`)
    |(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    |(?P<word>[^\W\d]\w*(?:[.-]\w+)*)
    |(?P<sign><=|>=|!=|<>|==|[=<>(),]))""",
    re.VERBOSE,
)
_OPS: dict[str, Op] = {
    "=": "=",
    "==": "=",
    "!=": "!=",
    "<>": "!=",
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
}


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int

    @property
    def word(self) -> str:
        """Word of the language or sign; empty for anything else."""
        lowered = self.text.lower()
        return lowered if self.kind == "sign" or (self.kind == "word" and lowered in WORDS) else ""


def parse(text: str) -> Where:
    """Return the condition that ``text`` writes down.

    Raises:
        InputError: it is not a condition; the message shows where.
    """
    if len(text) > _LONGEST:
        raise InputError(f"The filter has {len(text):,} characters; the limit is {_LONGEST:,}.")
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [*self._tokens(), _Token("end", "", len(text.rstrip()))]
        self.next, self.depth = 0, 0

    def _tokens(self) -> list[_Token]:
        tokens, at = [], 0
        end = len(self.text.rstrip())
        while at < end:
            match = _TOKEN.match(self.text, at)
            if match is None or match.lastgroup is None:
                start = at + len(self.text[at:]) - len(self.text[at:].lstrip())
                odd = self.text[start]
                problem = "a quote is not closed" if odd in "'\"`" else f"{odd!r} has no meaning here"
                self.refuse(problem, start)
            tokens.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            at = match.end()
        return tokens

    def refuse(self, problem: str, at: int) -> NoReturn:
        """Raise ``InputError`` that shows the text up to the place."""
        before = self.text[max(0, at - 40) : at]
        raise InputError(
            f"Filter, character {at + 1}: {problem}: {before}»{self.text[at : at + 20]}. "
            "Write for example: category = 'dress' and price < 50."
        )

    @property
    def here(self) -> _Token:
        """Token that is read next."""
        return self.tokens[self.next]

    def take(self, *words: str) -> str:
        """Read one of the words, or nothing and return an empty text."""
        word = self.here.word
        if word and word in words:
            self.next += 1
            return word
        return ""

    def need(self, *words: str) -> str:
        """Read one of the words or refuse."""
        found = self.take(*words)
        if not found:
            self.refuse(f"expected {' or '.join(words)}", self.here.at)
        return found

    def whole(self) -> Where:
        """Read everything."""
        result = self.either()
        if self.here.kind != "end":
            self.refuse("expected and, or, or the end", self.here.at)
        return result

    def either(self) -> Where:
        """Read conditions joined by ``or``."""
        parts = [self.both()]
        while self.take("or"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else Or(tuple(_opened(parts, Or)))

    def both(self) -> Where:
        """Read conditions joined by ``and``."""
        parts = [self.one()]
        while self.take("and"):
            parts.append(self.one())
        return parts[0] if len(parts) == 1 else And(tuple(_opened(parts, And)))

    def one(self) -> Where:
        """Read one condition, turned around or in parentheses."""
        self.depth += 1
        if self.depth > _DEEPEST:
            self.refuse(f"more than {_DEEPEST} conditions inside each other", self.here.at)
        if self.take("not"):
            result: Where = Not(self.one())
        elif self.take("("):
            result = self.either()
            self.need(")")
        else:
            result = self.comparison()
        self.depth -= 1
        return result

    def comparison(self) -> Where:
        """Read a column and what is asked of it."""
        token = self.here
        if token.kind not in ("word", "name") or token.word:
            hint = "; a column is written bare or in backticks" if token.kind == "text" else ""
            self.refuse(f"expected a column{hint}", token.at)
        self.next += 1
        name = token.text[1:-1].replace("``", "`") if token.kind == "name" else token.text
        if sign := self.take(*_OPS):
            return Compare(name, _OPS[sign], self.value())
        if self.take("contains"):
            at, value = self.here.at, self.value()
            if not isinstance(value, str):
                self.refuse("contains takes a text in quotes", at)
            return Contains(name, value)
        if self.take("is"):
            turned = self.take("not")
            self.need("null")
            return Not(Missing(name)) if turned else Missing(name)
        turned = self.take("not")
        if not self.take("in"):
            self.refuse(f"expected =, !=, <, <=, >, >=, in, contains or is after {name!r}", self.here.at)
        found = In(name, self.values())
        return Not(found) if turned else found

    def values(self) -> tuple[Value, ...]:
        """Read ``(value, value)``."""
        self.need("(")
        found = [self.value()]
        while self.take(","):
            found.append(self.value())
        self.need(")")
        return tuple(found)

    def value(self) -> Value:
        """Read one text, number, ``true`` or ``false``."""
        token = self.here
        if token.kind == "text":
            self.next += 1
            quote = token.text[0]
            return token.text[1:-1].replace(quote * 2, quote)
        if token.kind == "number":
            self.next += 1
            return int(token.text) if re.fullmatch(r"[+-]?\d{1,25}", token.text) else float(token.text)
        if word := self.take("true", "false"):
            return word == "true"
        if token.word == "null":
            self.refuse("nothing equals null; write: is null", token.at)
        quotes = token.kind == "word"
        return self.refuse(
            f"a text stands in quotes: '{token.text}'" if quotes else "expected a value", token.at
        )


def _opened(parts: list[Where], kind: type[And] | type[Or]) -> list[Where]:
    """Return parts with those in parentheses opened that are joined in the same way."""
    return [inner for part in parts for inner in (part.parts if isinstance(part, kind) else (part,))]
