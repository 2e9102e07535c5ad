"""The commands of `rxpipe` and their options; what they do stands in modules of its own, loaded when a command runs."""

import atexit
import gc
import json
import os
from pathlib import Path
from typing import Annotated

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
from rxpipe.cli.run_command import run

app = App(
    name="rxpipe",
    help="Image-generation pipelines as reactive streams. Without a server the embedded backend renders.",
    epilog="Exit codes: 0 completed, 1 failed, 2 usage, 3 some pictures failed, 130 cancelled.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the program `rxpipe`."""
    open_closed_streams()
    escape_unencodable()
    gc.set_threshold(10_000)  # modules and schemas make much that stays: fewer searches for cycles, 0.05 s
    atexit.register(gc.freeze)  # at the end the process goes: nothing is collected object by object, 0.15 s
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


app.command()(run)

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
        typer.echo(str(grid_of_run(run_id, names, cell, out, store)))


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
        str | None,
        typer.Argument(
            metavar="STAGE|WORKFLOW", help="Only this one; or a ComfyUI workflow, for where settings go in it."
        ),
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
        str | None, typer.Argument(metavar="URL", help="Address of a server; default: the one that `run` would use.")
    ] = None,
    trial: Annotated[bool, typer.Option("--trial", help="Render one small picture there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Diagnose a WebUI or ComfyUI server, or a Dask cluster: what is reachable, what it has, what is missing."""
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
    scheduler: Annotated[
        str, typer.Argument(metavar="SCHEDULER", help="Address of a Dask scheduler, such as 10.0.0.1:8786.")
    ],
    backend: Annotated[str, typer.Option(help="The backend that it holds, as for `run`.")] = "auto",
    name: Annotated[str | None, typer.Option(help="Name of the worker; default: host and process.")] = None,
    resources: Annotated[
        str | None, typer.Option(help="What it has, for images that require it.", metavar="NAME=AMOUNT,...")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address that it listens on; default: 127.0.0.1, or what faces the scheduler.")
    ] = None,
    tls_ca: Annotated[
        Path | None, typer.Option(help="Certificate of your authority (PEM); TLS needs all three.", metavar="FILE")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate of this worker.", metavar="FILE")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, without a passphrase.", metavar="FILE")] = None,
) -> None:
    """Hold a backend for a Dask cluster until Ctrl+C; images come from `--backend dask://SCHEDULER`.

    Start the scheduler with `dask scheduler --host 127.0.0.1`.
    Whoever reaches its port or that of a worker runs code there, without a
    password: keep them on 127.0.0.1 or a private network, or use TLS.

    With TLS the scheduler takes `--protocol tls --tls-ca-file --tls-cert --tls-key`;
    `run` and `doctor` take the files behind the address,
    "tls://HOST:8786?tls_ca=FILE&tls_cert=FILE&tls_key=FILE", in RXPIPE_BACKEND,
    or as tls_ca, tls_cert and tls_key beside the url in the config file.
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
