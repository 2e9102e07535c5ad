"""What to run, as plain config values: read from a file of any kind, changed by options, written as a preset.

```text
recall.py     a file of any kind as configs, for code
jobs.py       a file, told apart by its content, and the tables of kinds and shapes
picture.py    a picture of any tool: rxpipe's own record, else its metadata
  carried.py    settings under A1111's names as config values, and what has no place
stablenew.py  a preset of StableNew's in any shape
  stablenew_keys.py   its keys
pack.py       a prompt pack: a prompt for each block, slots filled
payload.py    a request to A1111's API
lint.py       settings without effect; notes.py  what a reader remarks on a key
options.py    options and assignments applied to values; an option goes to the first stage that takes it
shape.py      a config or a plan in the shape of a preset file; toml.py  as TOML
```

A config in TOML, YAML or JSON is read by `rxpipe.config`.
"""

from rxpipe.presets.jobs import KINDS, SHAPES, Job, read_job, read_jobs
from rxpipe.presets.lint import notes_on
from rxpipe.presets.notes import Note
from rxpipe.presets.options import apply, stage_that_takes
from rxpipe.presets.recall import Recalled, check_complete, recall, recall_all
from rxpipe.presets.shape import dump
from rxpipe.presets.toml import toml_text

__all__ = [
    "KINDS",
    "SHAPES",
    "Job",
    "Note",
    "Recalled",
    "apply",
    "check_complete",
    "dump",
    "notes_on",
    "read_job",
    "read_jobs",
    "recall",
    "recall_all",
    "stage_that_takes",
    "toml_text",
]
