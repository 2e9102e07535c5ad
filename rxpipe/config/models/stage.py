"""The settings that all stages have, and those that all have which a backend renders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, JsonValue

from rxpipe.config.models.base import Config

if TYPE_CHECKING:
    from typing import Unpack

    from rxpipe.config.keywords import RenderingKeywords, StageKeywords


OnError = Literal["drop", "pass", "stop"]
OnInterrupted = Literal["warn", "retry"]


class StageConfig(Config):
    """The settings that every stage has."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[StageKeywords]) -> None: ...

    enabled: bool = Field(
        default=True, description="Whether the stage runs; false is the same as leaving the section out."
    )
    on_error: OnError = Field(
        default="drop",
        description=(
            "What happens to an image that fails: drop it, pass it on unchanged (not in txt2img, which has no "
            "input), or stop the stage."
        ),
    )
    on_interrupted: OnInterrupted = Field(
        default="warn",
        description=(
            "What happens to a picture that another client of a WebUI server interrupted: warn keeps it unfinished, "
            "retry renders it again, as often as the run retries."
        ),
    )


class RenderingConfig(StageConfig):
    """The settings that every stage has which a backend renders: what goes to a server as it stands."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[RenderingKeywords]) -> None: ...

    payload: dict[str, JsonValue] = Field(
        default_factory=dict,
        description=(
            "What no setting here is for, merged into the request last. WebUI: its fields, unchecked, such as "
            "script_name and script_args. ComfyUI: inputs of nodes, such as sample.cfg, or further nodes."
        ),
    )
    override_settings: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Options of a WebUI server for this request, handed to a WebUI server unchanged.",
    )
    alwayson_scripts: dict[str, JsonValue] = Field(
        default_factory=dict, description="Arguments of extensions by name, handed to a WebUI server unchanged."
    )
