"""A ComfyUI server behind the port: graphs of nodes, jobs in its queue, progress over a websocket.

```text
kind.py       its line in the table of kinds      inputs.py      what a stage works on: pictures, masks, faces
hints.py      its address, advice for its errors  graph.py       a graph while it is made and as it is sent
server.py     what its version can do             parts.py       checkpoints, prompts, passes of a sampler
nodes.py      what it says of its classes         graphs.py      the graphs of the four stages, pure
names.py      names that it has, as A1111's       prompts.py     A1111's prompt syntax, rewritten
knowledge.py  what is known of one server         validation.py  a graph before anything runs
api.py        its calls                           checks.py      a plan before it runs
listener.py   its websocket                       job.py         the hooks of a render
messages.py   what the websocket says             sent.py        a job on the server, and stopping it
failures.py   its errors, typed                   progress.py    how far a job is, and how it ended
outputs.py    from the history to the picture     workflow.py    a workflow of one's own
diagnosis.py  what is there and what is missing   export.py      all stages as one graph
backend.py    the port
```
"""
