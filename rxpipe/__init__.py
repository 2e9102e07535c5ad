"""rxpipe: image-generation pipelines as reactive streams.

```text
config -> plan -> chain -> events -> result -> views

logs.py        the log, silent until it is enabled
threads.py     calls on threads of their own
shown.py       text from outside as it may be shown
errors.py      the exception tree
pictures/      pictures as bytes: formats, metadata of any tool, A1111's text, lineage, faces
rx/            Rx parts that know no pictures: operators, the lane, hot subjects, schedulers of GUI threads and of a run
cached.py      a cached property without a lock
filelock.py    locks between processes
config/        the settings: models, config files, messages about mistakes
artifact.py    one image, its picture and its lineage
presets/       what to run: a config file or a picture read by its content, options, preset files
plan.py        the config resolved: what each stage runs with
variants/      many settings from one config: prompts with alternatives, wildcards, sweeps; made one by one
estimate.py    the time left, by what took how long so far
events.py      the events of a run, and their grammar
progress.py    how far one stage is
result.py      the result: a fold of the events
status.py      the status that views show: another fold
backends/      the backend port; http (what servers share), webui (AUTOMATIC1111, Forge), sketch (embedded),
               diffusers (a model in this process)
store/         the journal of runs in progress and the history of the others
sinks/         pictures to files, events to a log, learning records
stages/        txt2img, img2img, adetailer, upscale, your own: functions, operators, forks, ready ones; control (cancel,
               skip, stop), cell (an image in a stage)
chains.py      stages in order
continuing.py  a chain and its journal: what is kept of a run, and how it is continued
course.py      the course of a run, from RunStart over the chain to RunEnd
run.py         its handle: wait, cancel, skip; also for asyncio
executor.py    starts a run, one at a time
runner.py      runs to the result, or live
controller.py  a run for a GUI: intents in, status out, on the GUI's thread
views/         console, Tk, Qt, notebook, the window
testing/       marbles, a scripted backend, laws, a faulty file system, test servers of WebUI and ComfyUI
cli/           the command `rxpipe`
```

A module imports only those above it; `pyproject.toml` holds the contract. A stage is an Rx operator on artifacts:
`rxp.upscale(scale=2).on(backend)` works in any `pipe(...)`.

Public names are loaded when they are first used, and are listed in `__init__.pyi`. Importing rxpipe loads no GUI
toolkit, no HTTP, no numpy, no pydantic and no loguru, and logs nothing until `loguru.logger.enable("rxpipe")`.
"""

import difflib

import lazy_loader

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    """Load a public name when it is asked for; name the nearest one where there is none such."""
    try:
        return _load(name)
    except AttributeError:
        close = difflib.get_close_matches(name, __all__, n=1)
        hint = f" Did you mean {close[0]!r}?" if close and not name.startswith("_") else ""
        raise AttributeError(f"module 'rxpipe' has no attribute {name!r}.{hint}", name=name) from None
