"""What every backend behind an HTTP API needs, whichever server it is.

```text
address.py     a URL, its credentials kept apart         failures.py   statuses and messages as typed errors
connection.py  requests over connections that can abort  pictures.py   pictures validated, sizes compared
call.py        one render, from subscription to its end  pace.py       how far a job is
batches.py     one request for several images            stopping.py   one interrupt, and seeing the job gone
idle.py        waiting until the server is idle          limits.py     how large an answer may be, and how slow
backend.py     threads and connections, from open to   sockets.py    sockets that another thread can shut down
diagnosis.py   a server that refuses, or is in trouble
```

A backend is an `HTTPBackend`, and gives a `RenderJob` (what to send and how to read its progress), a `StoppableJob`
(how to interrupt it), an `ErrorHints` and a `BackendKind`.
"""
