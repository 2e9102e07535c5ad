"""YAML as plain values, within the limits of a config. Loaded only where YAML is read, as PyYAML is slow to load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

from rxpipe.config.bounds import MAX_DEPTH, MAX_VALUES, GivenTwice, OutOfBounds, check, check_digits, too_deep, too_many

if TYPE_CHECKING:
    from yaml.nodes import Node

__all__ = ["parse_yaml"]


_MERGE = "tag:yaml.org,2002:merge"


class _Bounded(Composer):
    """Composes nodes one by one, so that too many or too deep ones are refused before the rest is read.

    A node counts as often as aliases repeat it: what stands for a million values costs as much as a million.
    """

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0
        self._count = 0
        self._counts: dict[int, int] = {}

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        before = self._count
        is_alias = self.check_event(yaml.AliasEvent)  # type: ignore[attr-defined]  # of the parser beside it
        self._depth += 1
        if self._depth > MAX_DEPTH + 1:
            raise too_deep()
        node = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias and id(node) not in self._counts:
            raise OutOfBounds("an alias stands within what it repeats")
        self._count += self._counts[id(node)] if is_alias else 1
        if self._count > MAX_VALUES:
            raise too_many("its aliases stand for" if is_alias else "it holds")
        self._counts.setdefault(id(node), self._count - before)
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, ScalarNode) or key.tag == _MERGE:
                continue
            line, name = key.start_mark.line + 1, (key.tag, key.value)
            if name in lines:
                raise GivenTwice(key.value, (lines[name], line))
            lines[name] = line
        return node


class _Constructor(SafeConstructor):
    def construct_yaml_int(self, node: ScalarNode) -> int:
        check_digits(node.value)
        return super().construct_yaml_int(node)


_Constructor.add_constructor("tag:yaml.org,2002:int", _Constructor.construct_yaml_int)  # type: ignore[type-var]  # the stubs name a base

if yaml.__with_libyaml__:  # ten times faster
    from yaml._yaml import CParser

    class _Loader(_Bounded, CParser, _Constructor, Resolver):
        def __init__(self, text: str) -> None:
            CParser.__init__(self, text)
            _Bounded.__init__(self)
            _Constructor.__init__(self)
            Resolver.__init__(self)

else:
    from yaml.parser import Parser
    from yaml.reader import Reader
    from yaml.scanner import Scanner

    class _Loader(_Bounded, Reader, Scanner, Parser, _Constructor, Resolver):  # type: ignore[no-redef]  # one of the two
        def __init__(self, text: str) -> None:
            Reader.__init__(self, text)
            Scanner.__init__(self)
            Parser.__init__(self)
            _Bounded.__init__(self)
            _Constructor.__init__(self)
            Resolver.__init__(self)


def parse_yaml(text: str) -> object:
    """Return the values in *text*, which may be any text.

    Raises:
        OutOfBounds: it exceeds a limit of configs.
        ValueError: it is no YAML, or names a value that there is not.
    """
    loader = None
    try:
        loader = _Loader(text)
        value = loader.get_single_data()
    except ValueError:  # such as a date without that day, or a key given twice
        raise
    except RecursionError:
        raise too_deep() from None
    except yaml.YAMLError as error:
        if "maximum nesting depth" in str(error):  # of the C library
            raise too_deep() from None
        raise ValueError(" ".join(str(error).split())) from error
    except Exception as error:  # PyYAML raises whatever its conversions do: KeyError, IndexError, AttributeError
        raise ValueError(f"a value is not what its tag says ({type(error).__name__}: {error})") from error
    finally:
        if loader is not None:
            loader.dispose()
    check(value)
    return value
