"""The section workflow: a ComfyUI workflow of one's own, its file read and its bindings checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, cast

from pydantic import Field, JsonValue, model_validator

from rxpipe.config.bindings import BINDABLE, Bindings, bindings_of
from rxpipe.config.graphs import Graph, checked_graph, read_graph
from rxpipe.config.models.base import CfgScale, Fraction, Pixels, Seed, Steps, Whole
from rxpipe.config.models.stage import RenderingConfig

if TYPE_CHECKING:
    from typing import Unpack

    from rxpipe.config.keywords import WorkflowKeywords


class WorkflowConfig(RenderingConfig):
    """Run a ComfyUI workflow of one's own; the file stays as it is, settings go where they are bound.

    A setting that is not set stays as in the file; the seed is that of the image wherever one is bound.
    """

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[WorkflowKeywords]) -> None: ...

    section = "workflow"
    file: Path | None = Field(
        default=None, description="The workflow as ComfyUI writes it with Workflow > Export (API)."
    )
    graph: dict[str, JsonValue] = Field(
        default_factory=dict, description="The same as nodes by id, read from the file where it is left out."
    )
    bind: dict[str, str | list[str]] = Field(
        default_factory=dict,
        description=(
            "Where settings go: a setting, image, output or any name, to id.input or title.input, such as prompt to "
            "6.text. Others are found by titles (rx:prompt), by parameter nodes and placeholders, or inferred."
        ),
    )
    values: dict[str, JsonValue] = Field(
        default_factory=dict, description="Values of names of one's own that are bound."
    )
    prompt: str | None = Field(default=None, description="What the picture shows; None: as in the file.")
    negative_prompt: str | None = Field(
        default=None, description="What the picture should not show; None: as in the file."
    )
    images: Annotated[Whole, Field(ge=1, le=100_000)] = Field(
        default=1,
        description="How many images, each with a seed of its own; only the first stage may have more than 1.",
    )
    seed: Seed = Field(
        default=-1,
        description="Seed of the first image, each further image has one more; -1: random, or the one it has already.",
    )
    steps: Steps | None = Field(default=None, description="Sampling steps, 1 to 1000; None: as in the file.")
    cfg_scale: CfgScale | None = Field(
        default=None, description="How closely the prompt is followed, 0 to 100; None: as in the file."
    )
    width: Pixels | None = Field(
        default=None, description="Width in px, 64 to 8192, a multiple of 8; None: as in the file."
    )
    height: Pixels | None = Field(
        default=None, description="Height in px, 64 to 8192, a multiple of 8; None: as in the file."
    )
    sampler_name: str | None = Field(default=None, description="Sampler, such as Euler a; None: as in the file.")
    scheduler: str | None = Field(default=None, description="Noise schedule, such as Karras; None: as in the file.")
    denoising_strength: Fraction | None = Field(
        default=None, description="How much an input is changed, 0 to 1; None: as in the file."
    )
    model: str | None = Field(default=None, description="Checkpoint by name; None: as in the file.")

    @model_validator(mode="before")
    @classmethod
    def _read(cls, values: Any) -> Any:
        """Read the file where the graph is not given with it."""
        if not isinstance(values, dict):
            return values
        file, graph = values.get("file"), values.get("graph")
        if graph:
            return {**values, "graph": checked_graph(graph, "graph")}
        if not isinstance(file, str | Path):
            raise ValueError("file is missing; allowed: what ComfyUI writes with Workflow > Export (API)")  # noqa: TRY004  # as all of them
        return {**values, "graph": read_graph(Path(file).expanduser())}

    @model_validator(mode="after")
    def _bound(self) -> Self:
        """Refuse a binding that names nothing, and a setting that goes nowhere."""
        found = self.bindings
        for name in (*BINDABLE, *self.values):
            is_set = name in self.values or getattr(self, name, None) is not None
            if is_set and name not in found:
                why = found.unbound.get(name, "nothing is bound to it")
                raise ValueError(
                    f"{name} goes nowhere: {why}; bind it, such as {name} to {next(iter(self.graph))}.input"
                )
        return self

    @property
    def nodes(self) -> Graph:
        """The graph's nodes by id."""
        return cast("Graph", self.graph)

    @property
    def bindings(self) -> Bindings:
        """Where the settings go, and why others do not."""
        return bindings_of(self.nodes, self.bind)
