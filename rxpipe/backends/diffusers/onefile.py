"""Configs for a checkpoint in a single file, which holds weights only: what is beside it, or what rxpipe carries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.errors import BackendRejected

if TYPE_CHECKING:
    from pathlib import Path

    from rxpipe.backends.diffusers.files import ModelFile


def config_folder(file: ModelFile, *, download: bool) -> Path | None:
    """Return the folder with the configs of a single file; None where diffusers may fetch them.

    Raises:
        BackendRejected: there is none.
    """
    beside = file.path.with_suffix("")
    if (beside / "model_index.json").is_file():
        return beside
    if download:
        return None
    raise BackendRejected(
        f"model {file.path}: a single file holds no configs and no vocabulary.",
        hint=(
            f"Put them into {beside} (the files of the model's folder without its weights), "
            "or open the backend with config=FOLDER or download=True."
        ),
    )
