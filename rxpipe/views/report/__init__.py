"""The report of a run: one HTML page that needs nothing else, and the run as a trace.

```text
bars.py        what each image spent its time on in each stage, from the events
times.py       where the time of the run went
shown_run.py   what is shown of a run, from a result or from a store
thumbnails.py  small pictures as data URLs
gantt.py       charts: bars as rectangles
trace.py       the run as a Chrome trace
page.py        the page, from page.html and page.css; its short form in a notebook is `views.run_card`
writing.py     report: writes the files
```

Nothing is loaded from anywhere: the page has no scripts, and its own policy forbids every request.
"""

from rxpipe.views.report.writing import report

__all__ = ["report"]
