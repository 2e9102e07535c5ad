"""Stages of one's own: as a config file names them, and as the plan has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, JsonValue, model_validator

from rxpipe.config.models.base import Config
from rxpipe.config.models.stage import OnError, StageConfig

if TYPE_CHECKING:
    from typing import Unpack

    from rxpipe.config.keywords import CustomKeywords, OwnStageKeywords


class CustomConfig(StageConfig):
    """A custom stage as the plan has it: a function on artifacts or an Rx operator."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[CustomKeywords]) -> None: ...

    section = "custom"
    name: Annotated[str, Field(pattern=r"^[^\W\d][\w .-]*$")] = Field(
        description="Name of the stage: letters, digits, spaces, _, . and -, beginning with a letter or _."
    )
    kind: Literal["function", "generator", "operator"] = Field(
        description="A function on artifacts, a generator that makes several of one, or an Rx operator on their stream."
    )
    settings: dict[str, JsonValue] = Field(
        default_factory=dict, description="What is recorded about the stage; plain JSON values."
    )
    registered: str | None = Field(
        default=None, description="Name under which a package registers it; None: it was made in code."
    )


class OwnStageConfig(Config):
    """A stage that a package registers, or a ready-made one. Further keys are its settings."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[OwnStageKeywords]) -> None: ...

    section = "custom"
    enabled: bool = Field(default=True, description="Whether the stage runs; false is the same as leaving it out.")
    stage: str | None = Field(
        default=None, description="Name under which it is registered; None: the name of its section."
    )
    after: str | None = Field(
        default=None, description="Stage or section that it follows; None: all of those before it in the file."
    )
    on_error: OnError | None = Field(
        default=None, description="What happens to an image that fails; None: as the stage itself says."
    )
    settings: dict[str, JsonValue] = Field(default_factory=dict, description="What the stage is called with.")

    @model_validator(mode="before")
    @classmethod
    def _further_keys(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        further = {name: value for name, value in values.items() if name not in cls.model_fields}
        kept = {name: value for name, value in values.items() if name in cls.model_fields}
        return {**kept, "settings": {**further, **kept.get("settings", {})}} if further else kept
