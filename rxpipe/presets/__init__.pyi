# What `__init__.py` gives out, each name loaded when it is first asked for.
from .jobs import KINDS, SHAPES, Job, read_job, read_jobs
from .lint import notes_on
from .notes import Note
from .options import apply, stage_that_takes
from .recalled import Recalled, check_complete, drawn_over, recall, recall_all
from .shape import dump
from .toml import config_toml, toml_text

__all__ = [
    "KINDS",
    "SHAPES",
    "Job",
    "Note",
    "Recalled",
    "apply",
    "check_complete",
    "config_toml",
    "drawn_over",
    "dump",
    "notes_on",
    "read_job",
    "read_jobs",
    "recall",
    "recall_all",
    "stage_that_takes",
    "toml_text",
]
