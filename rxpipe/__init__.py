"""rxpipe: image-generation pipelines as reactive streams.

```text
config -> plan -> chain -> events -> result -> views

errors.py      the exception tree                  executor.py    one run at a time, hot events, exact cancel
artifact.py    one image and where it came from    runner.py      events folded into a PipelineRunResult
config/       settings and their files            controller.py  intents in, snapshots out, on a GUI's thread
plan.py        what is decided                     stages/        txt2img, img2img, adetailer, upscale, your own
events.py      what happened                       backends/      who draws: sketch (embedded), WebUI servers
result.py      what it amounts to                  sinks/         pictures to files, events to a log
status.py      what a person wants to see of it    views/         console, Tk, Qt, notebook
chain.py       stages in order                     testing/       marbles, scripted backend, WebUI test server
```

Public names are loaded when they are first asked for, and are listed in `__init__.pyi`. Importing rxpipe loads no GUI
toolkit, no HTTP and no numpy, and logs nothing until `loguru.logger.enable("rxpipe")`.
"""

import lazy_loader
from loguru import logger

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

logger.disable("rxpipe")
