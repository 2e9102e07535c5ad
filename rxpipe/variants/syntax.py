r"""Read a prompt with alternatives as a tree. The syntax is that of Dynamic Prompts, read strictly.

```text
{red|blue}              one of them                       {0.5::red|2::blue}       by weight, where chance chooses
{2$$a|b|c}              two of them, joined by ", "       {1-2$$ and $$a|b|c}      one or two, joined by " and "
__colour__              a line of the wildcard colour     __colours/*__            of all that match
[[time]]                a value of the slot time          ${hat={red|blue}} ${hat} chosen once, used again
# to the end of a line  left out                          \\{  \\_\\_  \\[[  \\#   the signs themselves
```
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from rxpipe.errors import ConfigError
from rxpipe.shown import cut

__all__ = ["Choice", "Node", "Option", "Sequence", "Slot", "Variable", "Wildcard", "has_syntax", "parse_prompt"]

_DEEPEST = 50
_SPECIAL = re.compile(r"\{|\$\{|__|\[\[|<lora:|<lyco:|<hypernet:")
_WILDCARD = re.compile(r"__([~!@]?)([\w*?./-]*?[\w*?](?:[\w*?./-]*?[\w*?])?)__(?![\w])")
_SLOT = re.compile(r"\[\[([^\[\]\n]*)\]\]")
_VARIABLE = re.compile(r"\$\{\s*([A-Za-z_]\w*)\s*(?:(=!?)|\})")
_COUNT = re.compile(r"\s*(?:(\d+)\s*-\s*(\d+)|(\d+)\s*-|-\s*(\d+)|(\d+))\s*\$\$")
_WEIGHT = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*::")
_COMMENT = re.compile(r"(?:^|(?<=\s))#(?=\s|$)[^\n]*")
_ESCAPED = re.compile(r"\\([{}|#_\[$])")
_NETWORK = re.compile(r"<\w+:[^<>\n]*>")


@dataclass(frozen=True, slots=True)
class Sequence:
    """Parts that follow one another."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Option:
    """One alternative and its weight."""

    node: Node
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Choice:
    """Alternatives, of which *least* to *most* are taken and joined; most is None for all."""

    options: tuple[Option, ...]
    least: int = 1
    most: int | None = 1
    joint: str = ", "


@dataclass(frozen=True, slots=True)
class Wildcard:
    """A line of a wildcard file, or of all whose names match."""

    name: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A value of a slot: the same one wherever its name stands."""

    name: str


@dataclass(frozen=True, slots=True)
class Variable:
    """A value that was chosen once for the whole prompt; *value* is None where it is only used."""

    name: str
    value: Node | None


Node: TypeAlias = str | Sequence | Choice | Wildcard | Slot | Variable


def has_syntax(text: str) -> bool:
    """Return whether a text has alternatives, wildcards or slots in it, or something that looks like it."""
    plain = _NETWORK.sub(lambda found: "" if "{" not in found[0] and ":__" not in found[0] else found[0], text)
    return bool(re.search(r"(?<!\\)\{|(?<!\\)__[\w*~@!][^\s]*__|(?<!\\)\[\[", plain))


def parse_prompt(text: str, where: str) -> Node:
    """Return the tree of a prompt.

    Raises:
        ConfigError: something is not closed, or cannot be read; says what, at which character, and what to write.
    """
    return _Parser(_COMMENT.sub("", text) if "#" in text else text, where).whole()


class _Parser:
    def __init__(self, text: str, where: str) -> None:
        self._text, self._where, self._at = text, where, 0

    def whole(self) -> Node:
        node = self._sequence("", 0)
        if self._at < len(self._text):
            raise self._wrong(f"{self._text[self._at]} without a {{ before it", 'write "\\}" for the sign itself')
        return node

    def _wrong(self, what: str, advice: str) -> ConfigError:
        near = cut(self._text[max(0, self._at - 10) : self._at + 20])
        return ConfigError(
            [f"{self._where}: {what}, at character {self._at + 1} ({near!r})"], hint=f"{advice[0].upper()}{advice[1:]}."
        )

    def _sequence(self, ends: str, depth: int) -> Node:
        if depth > _DEEPEST:
            raise self._wrong(f"alternatives within alternatives, more than {_DEEPEST} deep", "write fewer")
        parts: list[Node] = []
        plain: list[str] = []
        while self._at < len(self._text):
            sign = self._text[self._at]
            if (depth and sign in ends) or (not depth and sign == "}"):
                break
            node = self._special(depth)
            if isinstance(node, str):
                plain.append(node)
                continue
            if plain:
                parts.append("".join(plain))
                plain = []
            parts.append(node)
        if plain:
            parts.append("".join(plain))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts)) if parts else ""

    def _special(self, depth: int) -> Node:
        text, at = self._text, self._at
        if escaped := _ESCAPED.match(text, at):
            self._at = escaped.end()
            return escaped[1]
        if text.startswith("${", at):
            return self._variable(depth)
        if text[at] == "{":
            return self._choice(depth)
        if text.startswith("[[", at):
            return self._slot()
        if text.startswith("__", at):
            return self._wildcard()
        self._at += 1
        return text[at]

    def _choice(self, depth: int) -> Node:
        begin = self._at
        self._at += 1
        if self._text[self._at : self._at + 1] in {"~", "!", "@"}:
            self._at += 1  # how one is chosen is a setting of the run here, not of the place
        least: int = 1
        most: int | None = 1
        joint = ", "
        if count := _COUNT.match(self._text, self._at):
            self._at = count.end()
            least, most = _bounds(count)
            if (end := self._joint_end()) is not None:
                joint, self._at = self._text[self._at : end], end + 2
        options = []
        while True:
            weight = 1.0
            if found := _WEIGHT.match(self._text, self._at):
                weight, self._at = float(found[1]), found.end()
            options.append(Option(self._sequence("|}", depth + 1), weight))
            if self._at >= len(self._text):
                self._at = begin
                raise self._wrong("{ without its }", 'close it, or write "\\{" for the sign itself')
            self._at += 1
            if self._text[self._at - 1] == "}":
                return self._checked(Choice(tuple(options), least, most, joint), begin)

    def _checked(self, choice: Choice, begin: int) -> Choice:
        most = len(choice.options) if choice.most is None else choice.most
        wild = any(isinstance(option.node, Wildcard) for option in choice.options)
        if choice.least > most or (choice.least > len(choice.options) and not wild):
            self._at = begin
            raise self._wrong(
                f"{choice.least} of {len(choice.options)} alternatives were asked for", "ask for fewer, or give more"
            )
        if not any(option.weight for option in choice.options):
            self._at = begin
            raise self._wrong("all alternatives have the weight 0", "give one a weight above 0")
        return choice

    def _joint_end(self) -> int | None:
        """Return where the text between two `$$` ends; None where only one stands."""
        end = self._text.find("$$", self._at)
        return end if end >= 0 and not set(self._text[self._at : end]) & set("{}|") else None

    def _slot(self) -> Slot:
        found = _SLOT.match(self._text, self._at)
        name = found[1].strip() if found else ""
        if not found or not name:
            raise self._wrong("[[ without a name and its ]]", 'write [[name]], or "\\[[" for the signs themselves')
        if "|" in name:
            raise self._wrong(
                f"[[{cut(name)}]] lists values where a slot has its name",
                f"write {{{cut(name)}}}, or name the slot and give its values: --slot name=a,b",
            )
        self._at = found.end()
        return Slot(name)

    def _wildcard(self) -> Node:
        text, at = self._text, self._at
        found = _WILDCARD.match(text, at)
        opened, closed = text.rfind("<", 0, at), text.rfind(">", 0, at)
        if opened > closed and ">" in text[at:] and re.match(r"\w+:", text[opened + 1 :]):
            # within <lora:name:weight>: a name with "__" in it is no wildcard unless it is the whole name
            behind = text[found.end() : found.end() + 1] if found else ""
            if text[at - 1] not in ":{|" or behind not in {":", ">", "}", "|"}:
                self._at = at + 2
                return "__"
        if found is None:
            self._at = at + 2
            return "__"
        self._at = found.end()
        return Wildcard(found[2])

    def _variable(self, depth: int) -> Variable:
        found = _VARIABLE.match(self._text, self._at)
        if found is None:
            raise self._wrong("${ without a name", "write ${name=value} and then ${name}")
        begin, self._at = self._at, found.end()
        if not found[2]:
            return Variable(found[1], None)
        value = self._sequence("}", depth + 1)
        if self._at >= len(self._text):
            self._at = begin
            raise self._wrong("${ without its }", "close it")
        self._at += 1
        return Variable(found[1], value)


def _bounds(count: re.Match[str]) -> tuple[int, int | None]:
    if count[1] is not None:
        return int(count[1]), int(count[2])
    if count[3] is not None:
        return int(count[3]), None
    if count[4] is not None:
        return 1, int(count[4])
    return int(count[5]), int(count[5])
