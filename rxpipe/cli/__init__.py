"""The command line: `rxpipe run`, `info`, `stages` and the rest. The top of the row; nothing imports it.

app.py holds the commands and their options; what they do stands beside it. Heavy things load inside the commands.
"""

from rxpipe.cli.app import app, main

__all__ = ["app", "main"]
