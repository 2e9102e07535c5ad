"""The commands of `rxpipe` and their options; what they do stands in modules of its own, loaded when a command runs."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from rxpipe.cli.outcome import Exit, escape_unencodable, flush_stdout, problem, report_errors

app = typer.Typer(
    name="rxpipe",
    help="Image-generation pipelines as reactive streams. Without a server it draws with a program of its own.",
    epilog="Exit codes: 0 completed, 1 failed, 2 usage, 3 some pictures failed, 130 cancelled.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_WHAT, _HOW, _SHOW = "What is drawn", "How it runs", "What is shown"


def main() -> None:
    """The program `rxpipe`."""
    escape_unencodable()
    try:
        app()
    finally:
        flush_stdout()


def _version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version  # noqa: PLC0415  # slow, and only for who asks

        typer.echo(f"rxpipe {version('rxpipe')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    del version


def _option(what: str, panel: str = _WHAT, *names: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=what, rich_help_panel=panel, metavar=metavar)


@app.command()
def run(  # noqa: PLR0917  # typer makes an option of each
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="CONFIG|PICTURE",
            help="A .toml, .yaml or .json config, or a picture to draw again. Without it: two portraits through all "
            "four stages.",
        ),
    ] = None,
    prompt: Annotated[str | None, _option("What to draw.")] = None,
    negative_prompt: Annotated[str | None, _option("What not to draw.")] = None,
    images: Annotated[int | None, _option("How many; each has a seed of its own.")] = None,
    seed: Annotated[int | None, _option("Of the first picture; the next has one more. -1: by chance.")] = None,
    steps: Annotated[int | None, _option("Sampler steps.")] = None,
    cfg_scale: Annotated[float | None, _option("How closely the prompt is followed.")] = None,
    width: Annotated[int | None, _option("Pixels, a multiple of 8.")] = None,
    height: Annotated[int | None, _option("Pixels, a multiple of 8.")] = None,
    sampler: Annotated[str | None, _option("Name of a sampler.")] = None,
    photo: Annotated[
        list[Path] | None,
        _option(
            "A picture to start from, instead of txt2img. May be given more than once.",
            _WHAT,
            "--input",
            metavar="PHOTO",
        ),
    ] = None,
    stages: Annotated[str | None, _option("Only these, such as txt2img,upscale.", metavar="STAGE,...")] = None,
    assignment: Annotated[
        list[str] | None,
        _option(
            "Any setting: stage.key=value, such as upscale.scale=3; `rxpipe stages` lists them. May be given more "
            "than once.",
            _WHAT,
            "--set",
            metavar="STAGE.KEY=VALUE",
        ),
    ] = None,
    backend: Annotated[
        str,
        _option(
            "Who draws: auto takes a WebUI that runs on this machine, else the embedded one.",
            _HOW,
            metavar="auto|embedded|URL",
        ),
    ] = "auto",
    order: Annotated[
        str | None,
        _option(
            "What comes first: a stage for all pictures, a picture to its end, or few checkpoint switches.",
            _HOW,
            metavar="stage|image|auto",
        ),
    ] = None,
    out: Annotated[Path | None, _option("Folder for the pictures, outputs if not given.", _HOW)] = None,
    save: Annotated[
        str | None, _option("All stages' pictures, or only the final ones.", _HOW, metavar="all|final")
    ] = None,
    pace: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds a step of the embedded backend takes, to watch it.", rich_help_panel=_HOW),
    ] = None,
    dry_run: Annotated[bool, _option("Print the plan and draw nothing.", _SHOW, "--dry-run")] = False,
    as_json: Annotated[bool, _option("One event a line on stdout and nothing else.", _SHOW, "--json")] = False,
    verbose: Annotated[bool, _option("Everything that happens.", _SHOW, "--verbose", "-v")] = False,
) -> None:
    """Draw pictures.

    An option that draws (prompt, steps, ...) holds for the first stage that knows it; later ones inherit it.
    Ctrl+C stops and keeps what is finished, twice leaves at once.
    """
    with report_errors():
        from rxpipe.cli.options import RunOptions  # noqa: PLC0415  # pydantic is slow to load, and --help needs none

        generation = {
            "prompt": prompt, "negative_prompt": negative_prompt, "images": images, "seed": seed, "steps": steps,
            "cfg_scale": cfg_scale, "width": width, "height": height, "sampler_name": sampler,
        }  # fmt: skip
        settings = {"order": order, "out": None if out is None else str(out), "save": save}
        config = RunOptions(
            source=source,
            generation=_given(generation),
            settings=_given(settings),
            input=photo or (),
            stages=None if stages is None else [name.strip() for name in stages.split(",") if name.strip()],
            assignments=assignment or (),
        ).config()
        _check(config)
        if dry_run:
            _print_plan(config, as_json=as_json)
        else:
            raise typer.Exit(_run(config, backend, pace, as_json=as_json, verbose=verbose))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _check(config: Any) -> None:
    """Refuse what cannot run while nothing has begun: the order of stages, pictures that are none."""
    from rxpipe.metadata import read_info  # noqa: PLC0415  # only who runs this pays for it
    from rxpipe.plan import build_stage_execution_plan  # noqa: PLC0415  # only who runs this pays for it

    build_stage_execution_plan(config).check()
    for path in config.input:
        read_info(path)


def _print_plan(config: Any, *, as_json: bool) -> None:
    from rxpipe.plan import build_stage_execution_plan  # noqa: PLC0415  # only who runs this pays for it

    plan = build_stage_execution_plan(config)
    if as_json:
        typer.echo(json.dumps(plan.model_dump(mode="json")))
        return
    from rxpipe.cli.tables import print_plan  # noqa: PLC0415  # only who runs this pays for it

    print_plan(plan)


def _run(config: Any, backend: str, pace: float | None, *, as_json: bool, verbose: bool) -> Exit:
    from rxpipe.backends import open_backend  # noqa: PLC0415  # only who runs this pays for it
    from rxpipe.cli.running import run_config  # noqa: PLC0415  # only who runs this pays for it
    from rxpipe.errors import ConfigError  # noqa: PLC0415  # only who runs this pays for it

    if pace is None:
        opened = open_backend(backend)
    elif backend in {"auto", "embedded", "sketch"}:
        opened = open_backend("embedded", pace_s=pace)
    else:
        raise ConfigError([f"--pace: {backend} keeps a pace of its own; only the embedded backend takes one"])
    return run_config(config, opened, as_json=as_json, verbose=verbose)


@app.command()
def info(
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE...", help="Of any tool: PNG, JPEG, WebP, ...")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Print what pictures say about how they were made.

    Understands rxpipe, AUTOMATIC1111 and Forge, ComfyUI, SwarmUI, InvokeAI, NovelAI and Fooocus.
    """
    from rxpipe.cli.tables import print_info  # noqa: PLC0415  # only who runs this pays for it
    from rxpipe.errors import BadImage  # noqa: PLC0415  # only who runs this pays for it
    from rxpipe.metadata import read_info  # noqa: PLC0415  # only who runs this pays for it

    bad = False
    for path in pictures:
        try:
            said = read_info(path)
        except BadImage as error:
            bad = True
            problem(str(error))
            continue
        if as_json:
            typer.echo(json.dumps({"path": str(path), **said.model_dump(mode="json")}))
        else:
            print_info(path, said)
    if bad:
        raise typer.Exit(Exit.USAGE)


@app.command(name="stages")
def list_stages(
    stage: Annotated[str | None, typer.Argument(help="Only this one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The JSON schema of a config file.")] = False,
) -> None:
    """List the stages and their settings, for --set and for config files."""
    with report_errors():
        from rxpipe.cli.settings import print_schema, print_settings  # noqa: PLC0415  # only who runs this pays for it

        if as_json:
            print_schema()
        else:
            print_settings(stage)


@app.command()
def doctor(
    url: Annotated[str | None, typer.Argument(help="Of a WebUI; without it the one that `run` would take.")] = None,
    trial: Annotated[bool, typer.Option("--trial", help="Draw one small picture there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="What was found, as JSON.")] = False,
) -> None:
    """Look at a WebUI server: what is reachable, what it has, what is missing."""
    with report_errors():
        from rxpipe.cli.doctor import examine  # noqa: PLC0415  # HTTP only for who asks

        raise typer.Exit(examine(url, trial=trial, as_json=as_json))


@app.command("testserver")
def serve_for_tests(
    port: Annotated[int, typer.Option(help="0 for a free one.")] = 0,
    flavour: Annotated[str, typer.Option(help="forge or a1111.")] = "forge",
    latency: Annotated[float, typer.Option(help="Seconds a picture takes.")] = 0.5,
    draw: Annotated[str, typer.Option(help="What it answers: sketch (real pictures) or noise (quick).")] = "sketch",
) -> None:
    """Serve a WebUI that draws test pictures, until Ctrl+C; for trying and testing clients."""
    with report_errors():
        from rxpipe.cli.serving import serve  # noqa: PLC0415  # HTTP and drawing only for who serves

        serve(port=port, flavour=flavour, latency_s=latency, draw=draw)


@app.command()
def gui(
    backend: Annotated[str | None, typer.Option(help="As for `run`; the one of last time without it.")] = None,
) -> None:
    """Open a window to run pipelines from."""
    with report_errors():
        from rxpipe.views import gui as window  # noqa: PLC0415  # Tk only for who opens a window

        raise typer.Exit(window.main(backend))
