"""A WebUI server (AUTOMATIC1111, Forge and their kin) behind the port.

```text
kind.py      its line in the table of kinds       outputs.py    from a stage to its request, from the answer to pictures
hints.py     its address, advice for its errors   answers.py    the JSON of an answer, split and validated
payloads.py  requests, as pure functions          actual.py     the settings that were used, compared
job.py       the hooks of a render                names.py      names that the server has
progress.py  whose job runs, and how far ours is  checks.py     a plan before it runs
spelling.py  names as the server lists them       fitting.py    a request as one server takes it
options.py   the server's options, kept as they   leftovers.py  what a killed run left changed, on disk
             are                                  flavour.py    which fork it is, as data
in_flight.py jobs that were sent, and what all    failing.py    drawings that fail without an error
             jobs share                           base64s.py    base64, quickly and strictly
backend.py   the port                             diagnosis.py  what is there and what is missing
```
"""
