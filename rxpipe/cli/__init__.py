"""The command line: `rxpipe run`, `info`, `stages` and the rest. The topmost layer; nothing imports it.

app.py holds the commands and their options, the other modules what they do. Heavy imports load inside the commands.
"""

from rxpipe.cli.app import app, main

__all__ = ["app", "main"]
