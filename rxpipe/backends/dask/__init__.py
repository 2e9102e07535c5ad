"""Workers of a Dask cluster behind the port: each holds a real backend, and an image in a stage is one of its tasks.

```text
kind.py      its line in the table of kinds        holding.py    on the worker: the backend, and the cells it renders
address.py   the scheduler's address, TLS          serving.py    a worker process, which outlives its scheduler
wire.py      what goes over the network            local.py      a scheduler and workers on this machine
cluster.py   the connection, and who is alive      diagnosis.py  which workers there are, and what each holds
cell.py      one image on one worker               backend.py    the port
```

Dask runs whatever it is sent: who reaches the port of the scheduler or of a worker runs code there, without a password.
Bind them to 127.0.0.1 or a private network, or give all of them TLS certificates of your own (`tls_ca`, `tls_cert`,
`tls_key`). All machines need the same Python (3.11, 3.12, ...) and the same rxpipe.
"""
