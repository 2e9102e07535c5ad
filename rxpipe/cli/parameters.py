"""The options of `rxpipe run`: for each its type, its names and its line in the help.

Importing it loads typer and nothing of rxpipe, since `--help` needs no more.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

_WHAT, _VARY, _HOW, _SHOW = "What is generated", "What varies", "How it runs", "What is shown"


def _option(what: str, panel: str = _WHAT, *names: str, metavar: str | None = None, least: float | None = None) -> Any:
    return typer.Option(*names, help=what, rich_help_panel=panel, metavar=metavar, min=least)


Sources = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[FILE]...",
        help="A .toml, .yaml or .json config, a picture of any tool to generate again, a preset or prompt pack of "
        "StableNew, an A1111 payload; several run one after another. Default: two portraits through all four "
        "stages.",
    ),
]
Prompts = Annotated[
    list[str] | None,
    _option("What the pictures show; {a|b}, __wildcard__, a slot in double brackets make variants. Each is a run."),
]
PromptsFile = Annotated[
    Path | None,
    _option("A list of prompts: text, CSV or JSON, with settings in further columns.", metavar="FILE"),
]
NegativePrompt = Annotated[str | None, _option("What the pictures must not show.")]
Images = Annotated[int | None, _option("Number of pictures; each has its own seed.")]
Seed = Annotated[int | None, _option("Seed of the first picture; each further one adds 1. -1: random.")]
Steps = Annotated[int | None, _option("Sampler steps.")]
CfgScale = Annotated[float | None, _option("How closely the prompt is followed.", _WHAT, "--cfg-scale", "--cfg")]
Size = Annotated[str | None, _option("Pixels, multiples of 8, such as 768x512.", metavar="WIDTHxHEIGHT")]
Pixels = Annotated[int | None, _option("Pixels, a multiple of 8.")]
Model = Annotated[str | None, _option("Checkpoint by name; default: the one that the server has loaded.")]
Sampler = Annotated[str | None, _option("Name of a sampler, such as Euler a.")]
Scheduler = Annotated[str | None, _option("Name of a noise schedule, such as Karras.")]
Hires = Annotated[float | None, _option("Draw in two passes, the second larger by this factor.", metavar="FACTOR")]
Denoise = Annotated[float | None, _option("How much img2img changes: 0 nothing, 1 everything.")]
Scale = Annotated[float | None, _option("How much larger upscale makes the picture.", metavar="FACTOR")]
Photos = Annotated[
    list[Path] | None,
    _option(
        "A picture to start from, instead of txt2img; a folder, or a pattern such as 'photos/*.jpg'. May be given "
        "more than once.",
        _WHAT,
        "--input",
        metavar="PHOTO",
    ),
]
Preset = Annotated[Path | None, _option("The settings that the prompts of a pack are drawn with.", metavar="PRESET")]
Workflow = Annotated[
    Path | None,
    _option(
        "A ComfyUI workflow (Workflow > Export (API)) in place of txt2img; `rxpipe stages FILE` shows where "
        "settings go.",
        metavar="FILE",
    ),
]
Bindings = Annotated[
    list[str] | None,
    _option("Where a setting goes in the workflow: prompt=6.text.", metavar="SETTING=ID.INPUT"),
]
Stages = Annotated[str | None, _option("Only these, such as txt2img,upscale.", metavar="STAGE,...")]
Assignments = Annotated[
    list[str] | None,
    _option(
        "Any setting: stage.key=value, such as upscale.scale=3; tables and lists as JSON or TOML; `rxpipe stages` "
        "lists them. May be given more than once.",
        _WHAT,
        "--set",
        metavar="STAGE.KEY=VALUE",
    ),
]
Trust = Annotated[
    bool | None,
    _option(
        "Send, or leave out, what a PICTURE has beyond drawing settings, such as options of the server. Neither: "
        "list that and stop.",
        _WHAT,
        "--trust/--no-trust",
    ),
]

Sweeps = Annotated[
    list[str] | None,
    _option(
        "Draw each value of a setting: txt2img.cfg_scale=5,7,9; ranges are 5-9, 1-10 (+3) and 1-10 [4].",
        _VARY,
        metavar="STAGE.KEY=VALUES",
    ),
]
Replacements = Annotated[
    list[str] | None,
    _option("Draw with the first word of the prompts, and with each of the others.", _VARY, metavar="WORD,..."),
]
Slots = Annotated[list[str] | None, _option("Values of [[NAME]] in the prompts.", _VARY, metavar="NAME=A,B,...")]
Wildcards = Annotated[
    list[Path] | None, _option("Folder or file of __wildcards__: text, YAML or JSON.", _VARY, metavar="PATH")
]
Chance = Annotated[
    int | None,
    _option("So many prompts by chance, in place of all combinations.", _VARY, "--random", metavar="N"),
]
Seeds = Annotated[
    str | None,
    _option(
        "The same seeds for every variant, one for all pictures, or one more for each.",
        _VARY,
        metavar="per-image|fixed|counted",
    ),
]
Limit = Annotated[int | None, _option("Most variants; default: 1000.", _VARY)]
Variants = Annotated[
    bool | None,
    _option(
        "Read the prompts of files for alternatives too, or take all prompts as they stand.",
        _VARY,
        "--variants/--no-variants",
    ),
]
Grid = Annotated[bool, _option("Draw a labelled sheet of the variants at the end.", _VARY, "--grid")]

Backends = Annotated[
    list[str] | None,
    _option(
        "The backend that renders; auto: a WebUI or ComfyUI that runs on this machine, else the embedded "
        "backend. Several render together.",
        _HOW,
        metavar="auto|embedded|URL",
    ),
]
QueueAhead = Annotated[
    int | None,
    _option("Further requests that wait in a WebUI's own queue, so that it never idles; default: 1.", _HOW, least=0),
]
Order = Annotated[
    str | None,
    _option(
        "What comes first: a stage for all pictures, a picture to its end, or few checkpoint switches.",
        _HOW,
        metavar="stage|image|auto",
    ),
]
OutFolder = Annotated[Path | None, _option("Folder for the pictures; default: outputs.", _HOW)]
Save = Annotated[str | None, _option("All stages' pictures, or only the final ones.", _HOW, metavar="all|final")]
Format = Annotated[str | None, _option("Format of the files; default: png.", _HOW, "--format", metavar="png|jpeg|webp")]
Quality = Annotated[int | None, _option("Quality of jpeg and webp, 1 to 100; default: 90.", _HOW)]
Embed = Annotated[
    str | None,
    _option(
        "What is written into the files: all, A1111's parameters, or nothing.",
        _HOW,
        "--metadata",
        metavar="all|parameters|none",
    ),
]
FileNames = Annotated[
    str | None,
    _option("Names of the files behind their number, such as [seed]-[prompt_words].", _HOW, metavar="PATTERN"),
]
Pace = Annotated[
    float | None,
    _option("Seconds per step of the embedded backend, to slow it down for watching.", _HOW, least=0),
]
StorePath = Annotated[
    Path | None,
    _option(
        "Where the run is recorded, so that it can be resumed; default: in the user's data folder.",
        _HOW,
        metavar="PATH",
    ),
]
NoStore = Annotated[bool, _option("Do not record the run.", _HOW, "--no-store")]

Export = Annotated[
    Path | None,
    _option(
        "Write the stages as one workflow that ComfyUI loads, and render nothing; needs a ComfyUI.",
        _SHOW,
        "--export-comfyui",
        metavar="FILE",
    ),
]
DryRun = Annotated[bool, _option("Print the plan and render nothing.", _SHOW, "--dry-run")]
AsJSON = Annotated[bool, _option("One event per line on stdout as JSON, and nothing else.", _SHOW, "--json")]
Verbose = Annotated[bool, _option("Print every event.", _SHOW, "--verbose", "-v")]
