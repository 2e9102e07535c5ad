"""The command line: `rxpipe run`, `info`, `stages` and the rest. The topmost layer; nothing imports it.

app.py holds the commands and their options, the other modules what they do. Heavy imports load inside the commands.
"""

try:
    from rxpipe.cli.app import app, main
except KeyboardInterrupt:  # Ctrl+C while the program loads
    raise SystemExit(130) from None

__all__ = ["app", "main"]
