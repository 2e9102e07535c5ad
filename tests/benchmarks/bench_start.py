"""Print what it costs to start `rxpipe`: CPU time against a typer program of two commands, one beside the other.

`python tests/benchmarks/bench_start.py [rounds]`; the least of all rounds counts, since other programs only add to it.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from table import at_most, show

AIMS = {("--help",): 1.15, ("run", "--dry-run"): 1.8}
TWO_COMMANDS = '''
import typer
app = typer.Typer()

@app.command()
def first(number: int = 0):
    """Do the first."""

@app.command()
def second(text: str = ""):
    """Do the second."""

app()
'''


def cpu_s(command: list[str]) -> float:
    """The CPU time of a program, its children's included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  fixed words
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measured(rounds: int):
    """Every start and its ratio to the small program."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "two.py"
        program.write_text(TWO_COMMANDS)
        commands = {("two",): [sys.executable, str(program), "--help"]}
        commands |= {words: [sys.executable, "-m", "rxpipe", *words] for words in AIMS}
        least = dict.fromkeys(commands, float("inf"))
        for _ in range(rounds):
            for words, command in commands.items():
                least[words] = min(least[words], cpu_s(command))
    for words, aim in AIMS.items():
        what = f"rxpipe {' '.join(words)}: {least[words]:.3f} s, two commands: {least['two',]:.3f} s"
        yield at_most(what, least[words] / least["two",], aim, " times")


if __name__ == "__main__":
    sys.exit(show("CPU time of a start", measured(int(sys.argv[1]) if sys.argv[1:] else 20)))
