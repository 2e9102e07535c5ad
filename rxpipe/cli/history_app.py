"""The commands about earlier runs: resume, rerun, runs, show, report, watch, rate, learn; `history` does the work."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from rxpipe.cli.outcome import report_errors
from rxpipe.cli.plain_help import App

STORE = typer.Option("--store", help="The store of runs: a file or its folder; default: in the user's data folder.")
_RUN = typer.Argument(metavar="RUN", help="Id of a run, its first characters, or last.")
_NAMED = typer.Argument(metavar="RUN|PICTURE", help="Id of a run, its first characters, last, or a picture of it.")
_BACKEND = typer.Option("--backend", metavar="URL", help="As for `run`; default: the one that the run had.")
_JSON = typer.Option("--json", help="One event per line on stdout as JSON, and nothing else.")
_VERBOSE = typer.Option("--verbose", "-v", help="Print every event.")
_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S"]

learn = App(name="learn")


def add_history(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (resume, rerun, runs, show, report, watch, rate):
        app.command()(command)
    app.add_typer(learn)


def resume(
    run: Annotated[str | None, _RUN] = None,
    backend: Annotated[list[str] | None, _BACKEND] = None,
    store: Annotated[Path | None, STORE] = None,
    as_json: Annotated[bool, _JSON] = False,
    verbose: Annotated[bool, _VERBOSE] = False,
) -> None:
    """Continue a run where it stood, by default the last unfinished one.

    Pictures that are finished and intact are kept; the others are drawn, with the same seeds.
    """
    with report_errors():
        from rxpipe.cli.history import resume_run  # noqa: PLC0415  # loaded when the command runs

        where = ",".join(backend) if backend else None
        raise typer.Exit(resume_run(run, where, store, as_json=as_json, verbose=verbose))


def rerun(  # noqa: PLR0917  # each is an option
    run: Annotated[str, _NAMED],
    assignment: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="STAGE.KEY=VALUE",
            help="A setting to change, such as upscale.scale=4. May be given more than once.",
        ),
    ] = None,
    backend: Annotated[list[str] | None, _BACKEND] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the pictures; default: that of the run.")] = None,
    store: Annotated[Path | None, STORE] = None,
    as_json: Annotated[bool, _JSON] = False,
    verbose: Annotated[bool, _VERBOSE] = False,
) -> None:
    """Run a run again with changes, or the image of a picture: only what the changes touch is drawn."""
    with report_errors():
        from rxpipe.cli.history import run_again  # noqa: PLC0415  # loaded when the command runs

        where = ",".join(backend) if backend else None
        code = run_again(run, assignment or (), where, out, store, as_json=as_json, verbose=verbose)
        raise typer.Exit(code)


def runs(  # noqa: PLR0917  # each is an option
    search: Annotated[str, typer.Option(help="Words of the prompts.")] = "",
    status: Annotated[
        str | None,
        typer.Option(help="running, interrupted, completed, partial, failed, cancelled or rebuilt."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="A part of the checkpoint's name.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of one of the images.")] = None,
    stage: Annotated[str | None, typer.Option(help="A stage that the run has.")] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=_DATES, help="Begun on that day or later, such as 2026-11-26.")
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(formats=_DATES, help="Begun before that day, or that time of it: 2026-11-26T14:30."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    store: Annotated[Path | None, STORE] = None,
    rebuild: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Enter the runs whose pictures are below that folder first."),
    ] = None,
) -> None:
    """List the runs, the newest first."""
    with report_errors():
        from rxpipe.cli.history import list_runs  # noqa: PLC0415  # loaded when the command runs

        list_runs(
            store,
            rebuild_from=rebuild,
            as_json=as_json,
            limit=limit,
            status=status,
            model=model,
            seed=seed,
            stage=stage,
            since=None if since is None else since.astimezone(),
            until=None if until is None else until.astimezone(),
            search=search,
        )


def show(
    run: Annotated[str, _NAMED],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    images: Annotated[int, typer.Option(min=0, help="List at most so many images.")] = 20,
    store: Annotated[Path | None, STORE] = None,
) -> None:
    """Show a run: its settings, its stages, its images, and where its time went."""
    with report_errors():
        from rxpipe.cli.history import show_run  # noqa: PLC0415  # loaded when the command runs

        show_run(run, store, images=images, as_json=as_json)


def report(
    run: Annotated[str, _NAMED],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page; default: report-RUN.html in this folder.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a trace in JSON, which ui.perfetto.dev opens.")
    ] = None,
    store: Annotated[Path | None, STORE] = None,
) -> None:
    """Write a run as one HTML page: pictures, settings, a timeline, where the time went, what went wrong."""
    with report_errors():
        from rxpipe.cli.history import report_run  # noqa: PLC0415  # loaded when the command runs

        report_run(run, store, out, trace)


def watch(
    run: Annotated[str | None, _RUN] = None,
    as_json: Annotated[bool, _JSON] = False,
    verbose: Annotated[bool, _VERBOSE] = False,
    store: Annotated[Path | None, STORE] = None,
) -> None:
    """Show a run of another process as it runs, by default the last one. Ctrl+C stops watching, not the run."""
    with report_errors():
        from rxpipe.cli.history import watch_run  # noqa: PLC0415  # loaded when the command runs

        raise typer.Exit(watch_run(run, store, as_json=as_json, verbose=verbose))


def rate(
    run: Annotated[str, _NAMED],
    stars: Annotated[int, typer.Argument(metavar="STARS", min=1, max=5, help="1 to 5; 5 is best.")],
    tag: Annotated[
        list[str] | None, typer.Option(help="A word to remember it by. May be given more than once.")
    ] = None,
    store: Annotated[Path | None, STORE] = None,
) -> None:
    """Rate a run or a picture."""
    with report_errors():
        from rxpipe.cli.ratings import rate as rate_run  # noqa: PLC0415  # loaded when the command runs

        rate_run(run, stars, tag or (), store)


@learn.callback(invoke_without_command=True)
def learn_alone(context: typer.Context) -> None:
    """Tell from ratings which settings were best; alone, this is `summary`."""
    if context.invoked_subcommand is None:
        learn_summary()


@learn.command("summary")
def learn_summary(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    least: Annotated[int, typer.Option(min=1, help="Leave out what was rated fewer times.")] = 1,
) -> None:
    """List which samplers, steps, CFG scales and models were rated best, with how often each was rated."""
    with report_errors():
        from rxpipe.cli.ratings import print_summary  # noqa: PLC0415  # loaded when the command runs

        print_summary(least=least, as_json=as_json)
