"""The section variants."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, JsonValue

from rxpipe.config.models.base import MAX_SEED, Config, Whole

if TYPE_CHECKING:
    from typing import Unpack

    from rxpipe.config.keywords import VariantsKeywords


class VariantsConfig(Config):
    """Draw many variants of a config: of its prompts, which may hold alternatives, and of any setting.

    In prompts {a|b} is one of two, {2$$a|b|c} two of three, __name__ a line of a wildcard, [[name]] a value of a slot.
    """

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[VariantsKeywords]) -> None: ...

    section = "variants"
    mode: Literal["all", "random"] = Field(
        default="all", description="all: every combination; random: prompts by chance, by the weights in them."
    )
    count: Annotated[Whole, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description="How many prompts mode random draws; None: one for each image of the first stage.",
    )
    slots: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Values of each [[slot]] of the prompts, by name."
    )
    wildcards: tuple[Path, ...] = Field(
        default=(), description="Folders and files of wildcards: text with a value a line, YAML or JSON."
    )
    sweep: dict[str, JsonValue] = Field(
        default_factory=dict,
        description=(
            'Values of settings by name, such as "txt2img.cfg_scale" = "5,7,9": a list, or a text with ranges such as '
            "1-10 (+3) and 1-10 [4]."
        ),
    )
    replace: tuple[tuple[str, ...], ...] = Field(
        default=(), description="Words of the prompts with those that replace them: the first of each list is sought."
    )
    seeds: Literal["fixed", "per_image", "counted"] = Field(
        default="per_image",
        description=(
            "per_image: every variant has the same seeds, one for each of its images; fixed: all images have the same "
            "seed; counted: every image of the run has one more."
        ),
    )
    seed: Annotated[Whole, Field(ge=0, le=MAX_SEED)] | None = Field(
        default=None, description="Seed of what mode random chooses; None: that of the run."
    )
    limit: Annotated[Whole, Field(ge=1, le=10_000_000)] = Field(
        default=1000, description="Most variants; more are refused before anything is drawn."
    )
