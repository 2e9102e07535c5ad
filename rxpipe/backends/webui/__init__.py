"""A WebUI server (AUTOMATIC1111, Forge and their kin) behind the port.

```text
address.py   where the server is and who asks          answers.py    what came back, checked
client.py    HTTP, and errors told once                names.py      names known to the server, nearest match
payloads.py  what is asked for, as pure functions      progress.py   how far our job is, and whose job runs
call.py      one drawing on its way                    stops.py      interrupting ours and nobody else's
backend.py   the port                                  diagnosis.py  what is reachable and what is missing
```
"""
