"""The command `rxpipe run`: its options, as runs; what it does with them is loaded when it runs."""

from typing import Any

import typer

from rxpipe.cli import parameters as option
from rxpipe.cli.outcome import report_errors


def run(  # noqa: PLR0917  # typer makes an option of each
    sources: option.Sources = None,
    prompt: option.Prompts = None,
    prompts: option.PromptsFile = None,
    negative_prompt: option.NegativePrompt = None,
    images: option.Images = None,
    seed: option.Seed = None,
    steps: option.Steps = None,
    cfg_scale: option.CfgScale = None,
    size: option.Size = None,
    width: option.Pixels = None,
    height: option.Pixels = None,
    model: option.Model = None,
    sampler: option.Sampler = None,
    scheduler: option.Scheduler = None,
    hires: option.Hires = None,
    denoise: option.Denoise = None,
    scale: option.Scale = None,
    photo: option.Photos = None,
    preset: option.Preset = None,
    workflow: option.Workflow = None,
    bind: option.Bindings = None,
    stages: option.Stages = None,
    assignment: option.Assignments = None,
    trust: option.Trust = None,
    sweep: option.Sweeps = None,
    replace: option.Replacements = None,
    slot: option.Slots = None,
    wildcards: option.Wildcards = None,
    chance: option.Chance = None,
    seeds: option.Seeds = None,
    limit: option.Limit = None,
    variants: option.Variants = None,
    draws_grid: option.Grid = False,
    backend: option.Backends = None,
    queue_ahead: option.QueueAhead = None,
    order: option.Order = None,
    out: option.OutFolder = None,
    save: option.Save = None,
    form: option.Format = None,
    quality: option.Quality = None,
    embed: option.Embed = None,
    name: option.FileNames = None,
    pace: option.Pace = None,
    store: option.StorePath = None,
    no_store: option.NoStore = False,
    export: option.Export = None,
    dry_run: option.DryRun = False,
    as_json: option.AsJSON = False,
    verbose: option.Verbose = False,
) -> None:
    """Generate pictures.

    A generation option (prompt, steps, ...) applies to the first stage that has it; later stages inherit it.
    Ctrl+C stops and keeps what is finished; pressed twice it exits immediately.
    """
    with report_errors():
        from rxpipe.cli.options import RunOptions  # noqa: PLC0415  # pydantic is slow to load, and --help needs none
        from rxpipe.cli.planned import check_run, print_run, report_unused, start_runs  # noqa: PLC0415  # as above
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
            stages=None if stages is None else stages.replace(",", " ").lower().split(),
            assignments=assignment or (),
            trust=trust,
        ).runs()
        for each in runs:
            check_run(each)
            report_unused(each, variants=variants)
            if dry_run:
                print_run(each, as_json=as_json)
        where = ",".join(backend or ["auto"])
        if export is not None:
            from rxpipe.cli.workflows import export_runs  # noqa: PLC0415  # loaded when it is asked for

            export_runs([each.config for each in runs], where, export)
        elif not dry_run:
            code = start_runs(
                runs,
                where,
                _given({"pace_s": pace, "queue_ahead": queue_ahead}),
                store,
                no_store=no_store,
                as_json=as_json,
                verbose=verbose,
                grid=draws_grid,
            )
            raise typer.Exit(code)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
