"""Workers of a Dask cluster behind the port: each holds a real backend, and an image in a stage is one of its tasks.

```text
kind.py      its line in the table of kinds        holding.py    on the worker: the backend, and the cells it renders
address.py   the scheduler's address, TLS          serving.py    a worker process, which outlives its scheduler
wire.py      what goes over the network            local.py      a scheduler and workers on this machine
cluster.py   the connection, and who is alive      diagnosis.py  which workers there are, and what each holds
cell.py      one image on one worker               backend.py    the port
reaching.py  whether both ends agree on TLS        fetching.py   results of one worker, several at a time
```

Dask runs whatever it is sent: who reaches the port of the scheduler or of a worker runs code there, without a password.
Bind them to 127.0.0.1 or a private network, or give all of them TLS certificates of your own (`tls_ca`, `tls_cert`,
`tls_key`). All machines need the same Python (3.11, 3.12, ...) and the same rxpipe.

An authority of your own, and a certificate for each machine (here `node`), with OpenSSL:

```sh
openssl req -x509 -newkey rsa:3072 -nodes -days 3650 -keyout ca-key.pem -out ca.pem -subj /CN=cluster
openssl req -newkey rsa:3072 -nodes -keyout node-key.pem -out node.csr -subj /CN=node
openssl x509 -req -in node.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 365 -out node.pem
dask scheduler --protocol tls --tls-ca-file ca.pem --tls-cert node.pem --tls-key node-key.pem
```

Keep `ca-key.pem` to yourself: who has it makes certificates that are accepted. A certificate is accepted from any host.
"""
