"""A WebUI server (AUTOMATIC1111, Forge and their kin) behind the port.

```text
address.py   the server's URL and credentials         answers.py    what came back, checked
client.py    HTTP, and errors typed once               names.py      names known to the server, nearest match
payloads.py  requests, made by pure functions          progress.py   how far our job is, and whose job runs
call.py      one request in flight                     stops.py      interrupting our jobs only
backend.py   the port                                  diagnosis.py  what is reachable and what is missing
```
"""
