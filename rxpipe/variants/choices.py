"""The combinations of a prompt's tree: how many there are, the n-th of them, and one by chance.

The n-th is computed from n, so that any number of combinations costs no memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rxpipe.errors import ConfigError
from rxpipe.variants.syntax import Choice, Node, Option, Sequence, Slot, Variable, Wildcard

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

    from rxpipe.variants.wildcards import Wildcards

__all__ = ["Combinations"]

_DEEPEST = 100


@dataclass(slots=True)
class _Scope:
    """What was chosen for one text: the values of slots, and of variables as they come."""

    slots: Mapping[str, str]
    variables: dict[str, str] = field(default_factory=dict)


class Combinations:
    """The combinations of one text.

    Where the tree says so, alternatives are taken in the order in which they stand, and the last one changes first.

    Args:
        node: the tree. wildcards: the values of those in it. where: it stands, for messages. slots: names of those
            that have values.

    Raises:
        ConfigError: a wildcard, slot or variable has no value, or a wildcard holds itself.
    """

    def __init__(self, node: Node, wildcards: Wildcards, where: str, slots: Mapping[str, object]) -> None:
        self._node, self._wildcards, self._where, self._slots = node, wildcards, where, slots
        self._counts: dict[int, int] = {}
        self._options: dict[str, Choice] = {}
        self._sound: set[str] = set()
        self.slots: dict[str, None] = {}
        self._check(node, (), set())
        self.count = self._count(node)

    def nth(self, index: int, slots: Mapping[str, str]) -> str:
        """Return the combination *index*, 0 to `count` - 1, with these values of slots."""
        return self._nth(self._node, index, _Scope(slots))

    def chosen(self, chance: random.Random, slots: Mapping[str, str]) -> str:
        """Return a combination by chance, by the weights of the alternatives."""
        return self._chosen(self._node, chance, _Scope(slots))

    # -- check --------------------------------------------------------------------------------------------------------

    def _check(self, node: Node, within: tuple[str, ...], known: set[str]) -> None:
        match node:
            case Sequence(parts):
                for part in parts:
                    self._check(part, within, known)
            case Choice(options):
                for option in options:
                    self._check(option.node, within, known)
            case Wildcard(name):
                self._check_wildcard(name, within, known)
            case Slot(name):
                self._check_slot(name)
            case Variable(name, None) if name not in known:
                raise ConfigError(
                    [f"{self._where}: ${{{name}}} is used and has no value before it"],
                    hint=f"Write ${{{name}=value}} in front of it.",
                )
            case Variable(name, value) if value is not None:
                self._check(value, within, known)
                known.add(name)

    def _check_wildcard(self, name: str, within: tuple[str, ...], known: set[str]) -> None:
        if name in within or len(within) > _DEEPEST:
            loop = " > ".join(f"__{each}__" for each in (*within, name))
            raise ConfigError([f"{self._where}: a wildcard holds itself: {loop}"])
        if not within and name in self._sound:
            return
        for option in self._of_wildcard(name).options:
            self._check(option.node, (*within, name), known)
        self._sound.add(name)

    def _check_slot(self, name: str) -> None:
        if name not in self._slots:
            listed = ", ".join(self._slots) or "none"
            raise ConfigError(
                [f"{self._where}: the slot [[{name}]] has no values; slots with values: {listed}"],
                hint=f"Give them: --slot {name}=a,b, or [variants.slots] in a config.",
            )
        self.slots[name] = None

    def _of_wildcard(self, name: str) -> Choice:
        if name not in self._options:
            self._options[name] = Choice(self._wildcards.options(name, self._where))
        return self._options[name]

    # -- how many -----------------------------------------------------------------------------------------------------

    def _count(self, node: Node) -> int:
        known = self._counts.get(id(node))
        if known is None:
            known = self._counts[id(node)] = self._counted(node)
        return known

    def _counted(self, node: Node) -> int:
        match node:
            case Sequence(parts):
                return math.prod(map(self._count, parts))
            case Choice():
                options = self._alternatives(node)
                return sum(self._ways(options, size) for size in self._sizes(node, options))
            case Wildcard(name):
                return self._count(self._of_wildcard(name))
            case Variable(_, value) if value is not None:
                return self._count(value)
            case _:
                return 1

    def _alternatives(self, choice: Choice) -> tuple[Option, ...]:
        """Return what is chosen from: where several are taken, a wildcard stands for its values."""
        if choice.most == 1:
            return choice.options
        flat: list[Option] = []
        for option in choice.options:
            inner = self._of_wildcard(option.node.name).options if isinstance(option.node, Wildcard) else (option,)
            flat += inner
        return tuple(flat)

    def _sizes(self, choice: Choice, options: tuple[Option, ...]) -> range:
        most = len(options) if choice.most is None else min(choice.most, len(options))
        return range(min(choice.least, len(options)), most + 1)

    def _ways(self, options: tuple[Option, ...], size: int) -> int:
        return math.factorial(size) * _sums([self._count(option.node) for option in options], size)[size]

    # -- the n-th -----------------------------------------------------------------------------------------------------

    def _nth(self, node: Node, index: int, scope: _Scope) -> str:
        match node:
            case str():
                return node
            case Sequence(parts):
                return self._nth_of_all(parts, index, scope)
            case Choice():
                options = self._alternatives(node)
                for size in self._sizes(node, options):
                    ways = self._ways(options, size)
                    if index < ways:
                        return self._arranged(options, size, index, node.joint, scope)
                    index -= ways
            case Wildcard(name):
                return self._nth(self._of_wildcard(name), index, scope)
            case Slot(name):
                return scope.slots[name]
            case Variable(name, None):
                return scope.variables[name]
            case Variable(name, value):
                scope.variables[name] = self._nth(value, index, scope)  # type: ignore[arg-type]  # None is the case before
                return ""
        raise IndexError(index)

    def _nth_of_all(self, parts: tuple[Node, ...], index: int, scope: _Scope) -> str:
        places = []
        for part in reversed(parts):
            index, at = divmod(index, self._count(part))
            places.append(at)
        return "".join(self._nth(part, at, scope) for part, at in zip(parts, reversed(places), strict=True))

    def _arranged(
        self, options: tuple[Option, ...], size: int, index: int, joint: str, scope: _Scope
    ) -> str:  # of one choice
        """Return *size* different options in the order *index* of all their orders, each with its own alternatives."""
        left, taken = list(options), list[tuple[Option, int]]()
        for rest in range(size - 1, -1, -1):
            counts = [self._count(option.node) for option in left]
            sums = _sums(counts, rest)
            for at, count in enumerate(counts):
                behind = math.factorial(rest) * _without(sums, count, rest)
                if index < count * behind:
                    inner, index = divmod(index, behind)
                    taken.append((left.pop(at), inner))
                    break
                index -= count * behind
        return joint.join(self._nth(option.node, at, scope) for option, at in taken)

    # -- by chance ----------------------------------------------------------------------------------------------------

    def _chosen(self, node: Node, chance: random.Random, scope: _Scope) -> str:
        match node:
            case str():
                return node
            case Sequence(parts):
                return "".join(self._chosen(part, chance, scope) for part in parts)
            case Choice():
                options = list(self._alternatives(node))
                size = chance.choice(self._sizes(node, tuple(options)))
                taken = []
                for _ in range(size):
                    weights = [option.weight for option in options]
                    at = chance.choices(range(len(options)), weights if any(weights) else None)[0]
                    taken.append(options.pop(at))
                return node.joint.join(self._chosen(option.node, chance, scope) for option in taken)
            case Wildcard(name):
                return self._chosen(self._of_wildcard(name), chance, scope)
            case Slot(name):
                return scope.slots[name]
            case Variable(name, None):
                return scope.variables[name]
            case Variable(name, value):
                scope.variables[name] = self._chosen(value, chance, scope)  # type: ignore[arg-type]  # as in _nth
                return ""


def _sums(counts: list[int], size: int) -> list[int]:
    """Return for 0 to *size* the sum, over all sets of so many options, of the product of their counts."""
    sums = [1] + [0] * size
    for count in counts:
        for number in range(size, 0, -1):
            sums[number] += count * sums[number - 1]
    return sums


def _without(sums: list[int], count: int, size: int) -> int:
    """Return the last of such sums for all options but one with that count."""
    value = 1
    for number in range(1, size + 1):
        value = sums[number] - count * value
    return value
