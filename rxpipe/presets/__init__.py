"""What to run, as plain config values: read from a file of any kind, changed by options, written as a preset.

```text
jobs.py      a file, told apart by its content, and the table of kinds
picture.py   the kind "picture": what any tool wrote into it, as the config that renders it again
options.py   options and assignments applied to values; an option goes to the first stage that takes it
shape.py     a config or a plan in the shape of a preset file
```

The other kind, a config in TOML, YAML or JSON, is read by `rxpipe.config`. The names are loaded when they are used:
options need no reader of pictures.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from rxpipe.presets.jobs import KINDS, Job, config_from_picture, load_job, read_job
    from rxpipe.presets.options import apply, stage_that_takes
    from rxpipe.presets.shape import dump

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "jobs": ["KINDS", "Job", "config_from_picture", "load_job", "read_job"],
        "options": ["apply", "stage_that_takes"],
        "shape": ["dump"],
    },
)

__all__ = ["KINDS", "Job", "apply", "config_from_picture", "dump", "load_job", "read_job", "stage_that_takes"]
