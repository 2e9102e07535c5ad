"""What to run, as plain config values: read from a file of any kind, changed by options, written as a preset.

```text
recalled.py   a file of any kind as configs, for code
jobs.py       a file, recognised by its content, and the tables of kinds and shapes
picture.py    a picture of any tool: rxpipe's own record, else its metadata
  carried.py    settings under A1111's names as config values, and what has no place
stablenew.py  a preset of StableNew's in any shape
  stablenew_keys.py   its keys
pack.py       a prompt pack: a prompt for each block, slots filled
payload.py    a request to A1111's API
lint.py       settings without effect; notes.py  what a reader remarks on a key
options.py    options and assignments applied to values; an option goes to the first stage that takes it
handing.py    what a stage hands on to those behind it when an option leaves it out
shape.py      a config or a plan in the shape of a preset file; toml.py  as TOML
```

A config in TOML, YAML or JSON is read by `rxpipe.config`. Names are loaded when they are used: options need no
reader of pictures.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
