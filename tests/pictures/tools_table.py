"""What is read and carried over of every dialect's pictures, field by field.

`python tests/pictures/tools_table.py` prints it.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import comfy_pictures  # noqa: F401  adds its pictures
import pytest
from tool_pictures import CASES, Case

from rxpipe.errors import ConfigError
from rxpipe.presets import Recalled, recall

FIELDS = (
    "prompt",
    "negative",
    "seed",
    "steps",
    "cfg",
    "sampler",
    "scheduler",
    "model",
    "size",
    "loras",
    "hires",
    "adetailer",
    "source",
)
"""The columns of the table."""

_SECTION = {
    "prompt": "prompt",
    "negative": "negative_prompt",
    "seed": "seed",
    "steps": "steps",
    "cfg": "cfg_scale",
    "sampler": "sampler_name",
    "scheduler": "scheduler",
    "model": "model",
    "vae": "vae",
    "clip_skip": "clip_skip",
    "subseed": "subseed",
    "subseed_strength": "subseed_strength",
    "tiling": "tiling",
    "restore_faces": "restore_faces",
    "distilled": "distilled_cfg_scale",
    "modules": "modules",
    "denoise": "denoising_strength",
}


def written(case: Case, folder: Path) -> Path:
    path = folder / f"picture{case.ending}"
    path.write_bytes(case.data)
    return path


def recalled(case: Case, path: Path) -> Recalled:
    """Recall a picture with what it needs; without that it must refuse."""
    if case.want.get("source"):
        with pytest.raises(ConfigError, match="--input"):
            recall(path)
    return recall(
        path, input="photo.png" if case.want.get("source") else (), prompt="given" if case.no_prompt else None
    )


def carried(config: Any, name: str) -> Any:
    """Return what a config has of a field, in the form of a case."""
    section = config.txt2img or config.img2img
    if name == "size":
        return section.width, section.height
    if name == "loras":
        return [word for word in section.prompt.split() if word.startswith("<lora:")]
    if name in {"hires", "refiner"}:
        inner = getattr(section, name)
        return None if inner is None else inner.model_dump(exclude_unset=True)
    if name in {"adetailer", "upscale"}:
        inner = getattr(config, name)
        return None if inner is None else inner.model_dump(exclude_unset=True, exclude={"units"})
    if name == "units":
        return [unit.model_dump(exclude_unset=True) for unit in config.adetailer.units]
    if name == "source":
        return config.txt2img is None and bool(config.input)
    return getattr(section, _SECTION[name])


def agrees(want: Any, got: Any) -> bool:
    if isinstance(want, dict):
        return isinstance(got, dict) and all(agrees(value, got.get(key)) for key, value in want.items())
    return bool(want == got)


def table() -> dict[str, dict[str, tuple[int, int]]]:
    """Return for each dialect and field how many pictures are right, of how many that have it."""
    counts: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            config = recalled(case, written(case, Path(folder))).config
            for name in FIELDS:
                if name in case.want:
                    right, of = counts[case.dialect].get(name, (0, 0))
                    counts[case.dialect][name] = (right + agrees(case.want[name], carried(config, name)), of + 1)
    return counts


def main() -> None:
    """Print the table as Markdown."""
    rows = table()
    print("| dialect | " + " | ".join(FIELDS) + " |")  # noqa: T201  what it is for
    print("|---" * (len(FIELDS) + 1) + "|")  # noqa: T201  as above
    for dialect, cells in rows.items():
        shown = (f"{cells[name][0]}/{cells[name][1]}" if name in cells else "-" for name in FIELDS)
        print(f"| {dialect} | " + " | ".join(shown) + " |")  # noqa: T201  as above
    print(f"\n{len(CASES)} pictures of {len({case.tool for case in CASES})} tools; right of those that have the field")  # noqa: T201  as above


if __name__ == "__main__":
    main()
