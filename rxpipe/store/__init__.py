"""The store: the journal of runs in progress and the history of those that ended, in one SQLite file.

```text
port.py        what a stage asks of a journal: an earlier picture of a cell, and to keep a new one
keys.py        what a cell is drawn from, as one digest
pictures.py    digests of files and pictures, each read once
schema.py      tables, migrations, connections; what SQLite raises becomes a StoreError
records.py     what is read: runs, cells, timings, as frozen dataclasses
plans.py       a plan as text, and back
queries.py     conditions of a list, words of a search, times of stages
reading.py     Store: list, search and show runs; marks
distant.py     a store that another machine writes
locks.py       which process runs a run
writing.py     the one thread of a process that writes a store: transactions, a store that is locked, full or gone
rows.py        what is written of a run and of its cells
answers.py     the cells that a run may take instead of drawing them
journal.py     the journal of one run: its cells, its events
resuming.py    what a run needs in order to continue, or to be drawn again with changes
following.py   the events of a run of another process, live
rebuilding.py  a history from the pictures alone
```

A cell is one image in one stage. Its row is committed after its file is synced and has its name; the run's thread waits
for that commit and for nothing else. A store that cannot be used costs no picture: the run says so and continues.
"""
