"""loguru's logger, silent for rxpipe until it is enabled; loaded when something logs, and not by `import rxpipe`."""

from __future__ import annotations

from loguru import logger

__all__ = ["logger"]


def _was_chosen() -> bool:
    """Whether the program has enabled or disabled rxpipe's messages before rxpipe loaded loguru."""
    choices = getattr(getattr(logger, "_core", None), "activation_list", ())
    return any(name.startswith("rxpipe.") for name, _ in choices)


if not _was_chosen():
    logger.disable("rxpipe")
