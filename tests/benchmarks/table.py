"""What every benchmark prints: one line a measurement, with its aim and whether it was met."""

# ruff: noqa: T201  a benchmark prints

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what a benchmark starts runs from bytecode, as installed packages do


@dataclass(frozen=True)
class Row:
    """One measurement. aim: what it is held against, empty for a number that is only reported."""

    what: str
    measured: str
    aim: str = ""
    ok: bool = True

    def __str__(self) -> str:
        verdict = ("ok" if self.ok else "MISSED") if self.aim else ""
        return f"{self.what:68} {self.measured:>30}  {self.aim:16} {verdict}".rstrip()


def at_most(what: str, value: float, aim: float, unit: str = "") -> Row:
    """A measurement that must not be above *aim*."""
    return Row(what, f"{value:.2f}{unit}", f"at most {aim:g}{unit}", value <= aim)


def at_least(what: str, value: float, aim: float, unit: str = "") -> Row:
    """A measurement that must not be below *aim*."""
    return Row(what, f"{value:.2f}{unit}", f"at least {aim:g}{unit}", value >= aim)


def show(title: str, rows: Iterable[Row]) -> int:
    """Print each row as soon as it is measured; 1 if an aim was missed, else 0."""
    print(f"{title}\n{'what':68} {'measured':>30}  {'aim':16}", flush=True)
    missed = 0
    for row in rows:
        print(row, flush=True)
        missed += not row.ok
    return 1 if missed else 0
