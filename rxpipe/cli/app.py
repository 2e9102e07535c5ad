"""The commands of `rxpipe` and their options; what they do stands in modules of its own, loaded when a command runs."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rxpipe.cli.history_app import add_history
from rxpipe.cli.outcome import (
    Exit,
    escape_unencodable,
    flush_stdout,
    lose_stdout,
    open_closed_streams,
    problem,
    report_errors,
)
from rxpipe.cli.plain_help import App

app = App(
    name="rxpipe",
    help="Image-generation pipelines as reactive streams. Without a server the embedded backend renders.",
    epilog="Exit codes: 0 completed, 1 failed, 2 usage, 3 some pictures failed, 130 cancelled.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_WHAT, _VARY, _HOW, _SHOW = "What is generated", "What varies", "How it runs", "What is shown"


def main() -> None:
    """Run the program `rxpipe`."""
    open_closed_streams()
    escape_unencodable()
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for them reads every installed package
    try:
        app()
    except KeyboardInterrupt:  # before a command has its own handler
        raise SystemExit(Exit.CANCELLED) from None
    except OSError as error:
        if error.filename is not None:
            raise
        lose_stdout(error)
        raise SystemExit(Exit.FAILED) from None
    finally:
        flush_stdout()


def _version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version  # noqa: PLC0415  # slow, and needed for --version only

        typer.echo(f"rxpipe {version('rxpipe')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version


def _option(what: str, panel: str = _WHAT, *names: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=what, rich_help_panel=panel, metavar=metavar)


@app.command()
def run(  # noqa: PLR0917  # typer makes an option of each
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]...",
            help="A .toml, .yaml or .json config, a picture of any tool to generate again, a preset or prompt pack of "
            "StableNew, an A1111 payload; several run one after another. Default: two portraits through all four "
            "stages.",
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        _option("What the pictures show; {a|b}, __wildcard__, a slot in double brackets make variants. Each is a run."),
    ] = None,
    prompts: Annotated[
        Path | None,
        _option("A list of prompts: text, CSV or JSON, with settings in further columns.", metavar="FILE"),
    ] = None,
    negative_prompt: Annotated[str | None, _option("What the pictures must not show.")] = None,
    images: Annotated[int | None, _option("Number of pictures; each has its own seed.")] = None,
    seed: Annotated[int | None, _option("Seed of the first picture; each further one adds 1. -1: random.")] = None,
    steps: Annotated[int | None, _option("Sampler steps.")] = None,
    cfg_scale: Annotated[
        float | None, _option("How closely the prompt is followed.", _WHAT, "--cfg-scale", "--cfg")
    ] = None,
    size: Annotated[str | None, _option("Pixels, multiples of 8, such as 768x512.", metavar="WIDTHxHEIGHT")] = None,
    width: Annotated[int | None, _option("Pixels, a multiple of 8.")] = None,
    height: Annotated[int | None, _option("Pixels, a multiple of 8.")] = None,
    model: Annotated[str | None, _option("Checkpoint by name; default: the one that the server has loaded.")] = None,
    sampler: Annotated[str | None, _option("Name of a sampler, such as Euler a.")] = None,
    scheduler: Annotated[str | None, _option("Name of a noise schedule, such as Karras.")] = None,
    hires: Annotated[
        float | None, _option("Draw in two passes, the second larger by this factor.", metavar="FACTOR")
    ] = None,
    denoise: Annotated[float | None, _option("How much img2img changes: 0 nothing, 1 everything.")] = None,
    scale: Annotated[float | None, _option("How much larger upscale makes the picture.", metavar="FACTOR")] = None,
    photo: Annotated[
        list[Path] | None,
        _option(
            "A picture to start from, instead of txt2img; a folder, or a pattern such as 'photos/*.jpg'. May be given "
            "more than once.",
            _WHAT,
            "--input",
            metavar="PHOTO",
        ),
    ] = None,
    preset: Annotated[
        Path | None, _option("The settings that the prompts of a pack are drawn with.", metavar="PRESET")
    ] = None,
    workflow: Annotated[
        Path | None,
        _option(
            "A ComfyUI workflow (Workflow > Export (API)) in place of txt2img; `rxpipe stages FILE` shows where "
            "settings go.",
            metavar="FILE",
        ),
    ] = None,
    bind: Annotated[
        list[str] | None,
        _option("Where a setting goes in the workflow: prompt=6.text.", metavar="SETTING=ID.INPUT"),
    ] = None,
    stages: Annotated[str | None, _option("Only these, such as txt2img,upscale.", metavar="STAGE,...")] = None,
    assignment: Annotated[
        list[str] | None,
        _option(
            "Any setting: stage.key=value, such as upscale.scale=3; tables and lists as JSON or TOML; `rxpipe stages` "
            "lists them. May be given more than once.",
            _WHAT,
            "--set",
            metavar="STAGE.KEY=VALUE",
        ),
    ] = None,
    trust: Annotated[
        bool | None,
        _option(
            "Send, or leave out, what a PICTURE has beyond drawing settings, such as options of the server. Neither: "
            "list that and stop.",
            _WHAT,
            "--trust/--no-trust",
        ),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        _option(
            "Draw each value of a setting: txt2img.cfg_scale=5,7,9; ranges are 5-9, 1-10 (+3) and 1-10 [4].",
            _VARY,
            metavar="STAGE.KEY=VALUES",
        ),
    ] = None,
    replace: Annotated[
        list[str] | None,
        _option("Draw with the first word of the prompts, and with each of the others.", _VARY, metavar="WORD,..."),
    ] = None,
    slot: Annotated[
        list[str] | None, _option("Values of [[NAME]] in the prompts.", _VARY, metavar="NAME=A,B,...")
    ] = None,
    wildcards: Annotated[
        list[Path] | None, _option("Folder or file of __wildcards__: text, YAML or JSON.", _VARY, metavar="PATH")
    ] = None,
    chance: Annotated[
        int | None,
        _option("So many prompts by chance, in place of all combinations.", _VARY, "--random", metavar="N"),
    ] = None,
    seeds: Annotated[
        str | None,
        _option(
            "The same seeds for every variant, one for all pictures, or one more for each.",
            _VARY,
            metavar="per-image|fixed|counted",
        ),
    ] = None,
    limit: Annotated[int | None, _option("Most variants; default: 1000.", _VARY)] = None,
    variants: Annotated[
        bool | None,
        _option(
            "Read the prompts of files for alternatives too, or take all prompts as they stand.",
            _VARY,
            "--variants/--no-variants",
        ),
    ] = None,
    draws_grid: Annotated[bool, _option("Draw a labelled sheet of the variants at the end.", _VARY, "--grid")] = False,
    backend: Annotated[
        list[str] | None,
        _option(
            "The backend that renders; auto: a WebUI or ComfyUI that runs on this machine, else the embedded "
            "backend. Several render together.",
            _HOW,
            metavar="auto|embedded|URL",
        ),
    ] = None,
    queue_ahead: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Further requests that wait in a WebUI's own queue, so that it never idles; default: 1.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    order: Annotated[
        str | None,
        _option(
            "What comes first: a stage for all pictures, a picture to its end, or few checkpoint switches.",
            _HOW,
            metavar="stage|image|auto",
        ),
    ] = None,
    out: Annotated[Path | None, _option("Folder for the pictures; default: outputs.", _HOW)] = None,
    save: Annotated[
        str | None, _option("All stages' pictures, or only the final ones.", _HOW, metavar="all|final")
    ] = None,
    form: Annotated[
        str | None, _option("Format of the files; default: png.", _HOW, "--format", metavar="png|jpeg|webp")
    ] = None,
    quality: Annotated[int | None, _option("Quality of jpeg and webp, 1 to 100; default: 90.", _HOW)] = None,
    embed: Annotated[
        str | None,
        _option(
            "What is written into the files: all, A1111's parameters, or nothing.",
            _HOW,
            "--metadata",
            metavar="all|parameters|none",
        ),
    ] = None,
    name: Annotated[
        str | None,
        _option("Names of the files behind their number, such as [seed]-[prompt_words].", _HOW, metavar="PATTERN"),
    ] = None,
    pace: Annotated[
        float | None,
        typer.Option(
            min=0, help="Seconds per step of the embedded backend, to slow it down for watching.", rich_help_panel=_HOW
        ),
    ] = None,
    store: Annotated[
        Path | None,
        _option(
            "Where the run is recorded, so that it can be resumed; default: in the user's data folder.",
            _HOW,
            metavar="PATH",
        ),
    ] = None,
    no_store: Annotated[bool, _option("Do not record the run.", _HOW, "--no-store")] = False,
    export: Annotated[
        Path | None,
        _option(
            "Write the stages as one workflow that ComfyUI loads, and render nothing; needs a ComfyUI.",
            _SHOW,
            "--export-comfyui",
            metavar="FILE",
        ),
    ] = None,
    dry_run: Annotated[bool, _option("Print the plan and render nothing.", _SHOW, "--dry-run")] = False,
    as_json: Annotated[
        bool, _option("One event per line on stdout as JSON, and nothing else.", _SHOW, "--json")
    ] = False,
    verbose: Annotated[bool, _option("Print every event.", _SHOW, "--verbose", "-v")] = False,
) -> None:
    """Generate pictures.

    A generation option (prompt, steps, ...) applies to the first stage that has it; later stages inherit it.
    Ctrl+C stops and keeps what is finished; pressed twice it exits immediately.
    """
    with report_errors():
        from rxpipe.cli.options import RunOptions  # noqa: PLC0415  # pydantic is slow to load, and --help needs none
        from rxpipe.cli.varying import VaryOptions  # noqa: PLC0415  # as above

        generation = {
            "negative_prompt": negative_prompt, "images": images, "seed": seed, "steps": steps,
            "cfg_scale": cfg_scale, "width": width, "height": height, "model": model, "sampler_name": sampler,
            "scheduler": scheduler, "denoising_strength": denoise, "scale": scale,
            "hires": None if hires is None else {"scale": hires, "enabled": True},
        }  # fmt: skip
        settings = {
            "order": order, "out": None if out is None else str(out), "save": save,
            "format": form, "quality": quality, "embed": embed, "name": name,
        }  # fmt: skip
        runs = RunOptions(
            sources=sources or (),
            preset=preset,
            workflow=workflow,
            bind=bind or (),
            generation=_given(generation),
            prompts=prompt or (),
            prompts_file=prompts,
            vary=VaryOptions(
                on=variants,
                sweep=sweep or (),
                replace=replace or (),
                slots=slot or (),
                wildcards=wildcards or (),
                chance=chance,
                seeds=seeds,
                limit=limit,
            ),
            size=size,
            settings=_given(settings),
            input=photo or (),
            stages=None if stages is None else [name.strip() for name in stages.split(",") if name.strip()],
            assignments=assignment or (),
            trust=trust,
        ).runs()
        for each in runs:
            _check(each.config)
            _say_left(each)
            _say_literal(each, on=variants)
            if dry_run:
                _print_plan(each, as_json=as_json)
        if export is not None:
            from rxpipe.cli.workflows import export_runs  # noqa: PLC0415  # loaded when it is asked for

            export_runs([each.config for each in runs], ",".join(backend or ["auto"]), export)
        elif not dry_run:
            kept = _store(store, off=no_store)
            where, options = ",".join(backend or ["auto"]), _backend_options(pace, queue_ahead)
            raise typer.Exit(_run(runs, where, options, kept, as_json=as_json, verbose=verbose, grid=draws_grid))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _check(config: Any) -> None:
    """Reject what cannot run before anything runs: a wrong order of stages, inputs that are not pictures."""
    from rxpipe.chains import build_chain  # noqa: PLC0415  # loaded when the command runs

    chain = build_chain(config)
    plan = chain.plan
    plan.check(chain.images)
    if any(getattr(stage.config, "mask", None) for stage in plan.stages):
        from rxpipe.backends.masks import check_masks  # noqa: PLC0415  # loaded for masks only

        check_masks(plan)
    if config.input:
        _check_inputs(config.input)


def _check_inputs(paths: Sequence[Path]) -> None:
    from rxpipe.errors import BadImage  # noqa: PLC0415  # loaded when the command runs
    from rxpipe.pictures.metadata import read_info  # noqa: PLC0415  # loaded for input pictures only

    for path in paths:
        if damage := read_info(path).damage:
            raise BadImage(f"{path}: {damage}", hint="Fetch or render it again.")


def _say_left(run: Any) -> None:
    """Print on stderr what of a picture or a preset is not carried over."""
    if run.left:
        head = f"{run.name}: " if run.name else ""
        problem(f"{head}not carried over: {', '.join(run.left)}")


def _say_literal(run: Any, *, on: bool | None) -> None:
    """Print on stderr that a prompt of a file has alternatives in it and is drawn as it stands."""
    if run.config.variants is not None or on is False or not run.kind:
        return
    from rxpipe.variants.syntax import has_syntax  # noqa: PLC0415  # loaded when the command runs

    section = run.config.txt2img or run.config.img2img
    if section is not None and has_syntax(section.prompt or ""):
        problem(f"{run.name or 'the prompt'}: is drawn as it stands; --variants draws its alternatives")


def _print_plan(run: Any, *, as_json: bool) -> None:
    from rxpipe.chains import build_chain  # noqa: PLC0415  # loaded when the command runs

    chain = build_chain(run.config)
    if run.name and not as_json:
        typer.echo(f"{run.name}:")
    variants = chain.variants.seeded(chain.plan.seed or 0) if chain.variants else None
    if as_json:
        plan = chain.plan.model_dump(mode="json")
        listed = [] if variants is None else [{"number": each.number, **each.values} for each in variants]
        typer.echo(json.dumps(plan if variants is None else {**plan, "variants": listed}))
        return
    from rxpipe.cli.tables import print_plan, print_variants  # noqa: PLC0415  # loaded when the command runs

    print_plan(chain.plan)
    if variants is not None:
        print_variants(variants)


def _backend_options(pace: float | None, queue_ahead: int | None) -> dict[str, Any]:
    given = {"pace_s": pace, "queue_ahead": queue_ahead}
    return {name: value for name, value in given.items() if value is not None}


def _store(path: Path | None, *, off: bool) -> Any:
    from rxpipe.errors import ConfigError  # noqa: PLC0415  # loaded when the command runs
    from rxpipe.store.reading import Store, default_store  # noqa: PLC0415  # loaded when the command runs

    if off and path is not None:
        raise ConfigError(["--store and --no-store contradict each other; give one of them"])
    return None if off else default_store() if path is None else Store(path)


def _run(
    runs: Any, backend: str, options: dict[str, Any], store: Any, *, as_json: bool, verbose: bool, grid: bool
) -> Exit:
    from rxpipe.backends import open_backend  # noqa: PLC0415  # loaded when the command runs
    from rxpipe.cli.running import run_configs  # noqa: PLC0415  # loaded when the command runs
    from rxpipe.errors import ConfigError  # noqa: PLC0415  # loaded when the command runs

    if "pace_s" in options and backend not in {"auto", "embedded"}:
        raise ConfigError([f"--pace: {backend} has its own speed; only the embedded backend takes a pace"])
    opened = open_backend("embedded" if "pace_s" in options else backend, **options)
    configs = [(each.name, each.config) for each in runs]
    return run_configs(configs, opened, store, as_json=as_json, verbose=verbose, grid=grid)


_FILE = typer.Argument(metavar="FILE...", help="A preset, pack, payload, config or picture.")


@app.command("lint")
def lint_files(
    files: Annotated[list[Path], _FILE],
    preset: Annotated[Path | None, typer.Option(help="The settings that the prompts of a pack are drawn with.")] = None,
) -> None:
    """List what is contradictory in files, and every key that has no effect, with the reason."""
    with report_errors():
        from rxpipe.cli.files import lint  # noqa: PLC0415  # loaded when the command runs

        raise typer.Exit(lint(files, preset))


@app.command("convert")
def convert_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A preset, pack, payload, config or picture.")],
    preset: Annotated[Path | None, typer.Option(help="The settings that the prompts of a pack are drawn with.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file, or for several prompts the folder; default: stdout.")
    ] = None,
    trust: Annotated[
        bool | None, typer.Option("--trust/--no-trust", help="As for `run`, of a picture's settings.")
    ] = None,
) -> None:
    """Write what a file says to run as a config of rxpipe in TOML."""
    with report_errors():
        from rxpipe.cli.files import convert  # noqa: PLC0415  # loaded when the command runs

        convert(file, preset, out, trust=trust)


@app.command("grid")
def draw_grid(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, or a folder of its pictures.")],
    axes: Annotated[
        str | None, typer.Option(help="Up to three, such as cfg_scale,steps: the last from left to right.")
    ] = None,
    cell: Annotated[int | None, typer.Option(help="Longest side of each picture in px.", min=16, max=4096)] = None,
    out: Annotated[Path | None, typer.Option(help="The file; default: below the folder of the run.")] = None,
    store: Annotated[Path | None, typer.Option(help="Where the run is recorded.")] = None,
) -> None:
    """Draw a labelled sheet of the variants of a run: up to three axes."""
    with report_errors():
        from rxpipe.cli.grids import grid_of_run  # noqa: PLC0415  # loaded when the command runs

        names = [name.strip() for name in (axes or "").split(",") if name.strip()]
        typer.echo(str(grid_of_run(run_id, names, cell, out, _store(store, off=False))))


@app.command()
def info(
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE...", help="From any tool: PNG, JPEG, WebP, ...")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Print the metadata of pictures: how they were made.

    Reads the metadata of rxpipe, AUTOMATIC1111, Forge and SD.Next, ComfyUI, SwarmUI, InvokeAI, NovelAI, Fooocus, Easy
    Diffusion, Draw Things, Civitai, Tensor.Art, Stability Matrix, Spaces, Mochi Diffusion and Midjourney.
    """
    from rxpipe.cli.tables import print_info  # noqa: PLC0415  # loaded when the command runs
    from rxpipe.errors import BadImage  # noqa: PLC0415  # loaded when the command runs
    from rxpipe.pictures.metadata import read_info  # noqa: PLC0415  # loaded when the command runs

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
        if said.damage:
            bad = True
            problem(f"{path}: {said.damage}")
    if bad:
        raise typer.Exit(Exit.USAGE)


@app.command(name="stages")
def list_stages(
    stage: Annotated[
        str | None, typer.Argument(help="Only this one; or a ComfyUI workflow, for where settings go in it.")
    ] = None,
    bind: Annotated[list[str] | None, typer.Option(help="As for `run`, of a workflow.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The JSON schema of a config file.")] = False,
) -> None:
    """List the stages and their settings, for --set and for config files."""
    with report_errors():
        if stage is not None and (stage.endswith(".json") or os.path.sep in stage):
            from rxpipe.cli.workflows import print_bindings  # noqa: PLC0415  # loaded when it is asked for

            print_bindings(Path(stage), bind or ())
            return
        from rxpipe.cli.settings import print_schema, print_settings  # noqa: PLC0415  # loaded when the command runs

        if as_json:
            print_schema()
        else:
            print_settings(stage)


@app.command()
def doctor(
    url: Annotated[
        str | None, typer.Argument(help="Address of a server; default: the one that `run` would use.")
    ] = None,
    trial: Annotated[bool, typer.Option("--trial", help="Render one small picture there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Diagnose a WebUI or ComfyUI server: what is reachable, what it has, what is missing."""
    with report_errors():
        from rxpipe.cli.doctor import examine  # noqa: PLC0415  # HTTP is loaded for this command only

        raise typer.Exit(examine(url, trial=trial, as_json=as_json))


@app.command("testserver")
def serve_for_tests(  # noqa: PLR0917  # each is an option
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 0,
    flavour: Annotated[str, typer.Option(help="forge, a1111, neo, reforge, classic, amd or sdnext.")] = "forge",
    latency: Annotated[float, typer.Option(help="Seconds per picture.", min=0, max=3600)] = 0.5,
    draw: Annotated[str, typer.Option(help="Pictures it returns: sketch (real pictures) or noise (fast).")] = "sketch",
    comfyui: Annotated[bool, typer.Option("--comfyui", help="A ComfyUI server instead of a WebUI one.")] = False,
    version: Annotated[str | None, typer.Option(help="Release of ComfyUI: 0.3.40, 0.3.64 or 0.33.0.")] = None,
) -> None:
    """Run a WebUI or ComfyUI test server until Ctrl+C; for trying and testing clients."""
    with report_errors():
        from rxpipe.cli.serving import serve  # noqa: PLC0415  # HTTP and the sketch backend are loaded for this command only

        serve(port=port, flavour=flavour, latency_s=latency, draw=draw, comfyui=comfyui, version=version)


@app.command("worker")
def serve_cluster(  # noqa: PLR0917  # each is an option
    scheduler: Annotated[str, typer.Argument(help="Address of a Dask scheduler, such as 10.0.0.1:8786.")],
    backend: Annotated[str, typer.Option(help="The backend that it holds, as for `run`.")] = "auto",
    name: Annotated[str | None, typer.Option(help="Name of the worker; default: host and process.")] = None,
    resources: Annotated[
        str | None, typer.Option(help="What it has, for images that require it.", metavar="NAME=AMOUNT,...")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address that it listens on; default: 127.0.0.1, or what faces the scheduler.")
    ] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="Certificate of the authority, for TLS.", metavar="FILE")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate of this worker.", metavar="FILE")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key.", metavar="FILE")] = None,
) -> None:
    """Hold a backend for a Dask cluster until Ctrl+C; images come from `--backend dask://SCHEDULER`.

    Start the scheduler with `dask scheduler --host 127.0.0.1`. Whoever reaches its port or that of a worker runs code
    there, without a password: keep them on 127.0.0.1 or a private network, or give all of them TLS certificates.
    """
    with report_errors():
        from rxpipe.cli.worker import serve as serve_worker  # noqa: PLC0415  # loaded for this command only

        tls = (tls_ca, tls_cert, tls_key)
        serve_worker(scheduler, backend=backend, name=name, resources=resources, host=host, tls=tls)


@app.command()
def gui(
    backend: Annotated[str | None, typer.Option(help="As for `run`; default: the one used last.")] = None,
) -> None:
    """Open a window to run pipelines from."""
    with report_errors():
        from rxpipe.views import gui as window  # noqa: PLC0415  # Tk is loaded for this command only

        raise typer.Exit(window.main(backend))


add_history(app)
