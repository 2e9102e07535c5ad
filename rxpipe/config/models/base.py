"""What all config models share: kinds of values, and validation that ends in one ConfigError.

However a config is made, one ConfigError lists every wrong setting.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticSerializationError, to_json

from rxpipe.config.bounds import check
from rxpipe.config.fields import attributes_text, signature_of
from rxpipe.config.problems import problems_of
from rxpipe.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema


MAX_SEED = 2**64 - 1  # what torch and ComfyUI take


def _multiple_of_8(value: int) -> int:
    if value % 8:
        low = value - value % 8
        raise ValueError(f"must be a multiple of 8 (px), such as {low} or {low + 8}")
    return value


def _no_flag(value: object) -> object:
    if isinstance(value, bool):  # in Python an int
        raise ValueError("should be a number")  # noqa: TRY004  # pydantic collects ValueErrors
    return value


def writable(value: object) -> object:
    """Return *value*; ValueError where it cannot be written as JSON in UTF-8, or is too large to be a setting."""
    if value is None or isinstance(value, bool | int | float | BaseModel):
        return value
    check(value)
    paths = value if isinstance(value, tuple) else (value,)
    try:
        if paths and all(isinstance(path, Path) for path in paths):
            return _encodable(value, paths)
        to_json(value)
    except (PydanticSerializationError, UnicodeEncodeError):
        raise ValueError("cannot be written as JSON in UTF-8, as events and files are") from None
    return value


def _encodable(value: object, paths: Iterable[Path]) -> object:
    """Return *value*; raises UnicodeEncodeError for a path that no file can have, unlike bytes that are no UTF-8."""
    for path in paths:
        os.fsencode(path)
    return value


Whole = Annotated[int, BeforeValidator(_no_flag)]
Number = Annotated[float, BeforeValidator(_no_flag)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
Pixels = Annotated[Whole, Field(ge=64, le=8192), AfterValidator(_multiple_of_8)]
TargetPixels = Annotated[Whole, Field(ge=16, le=16384)]
Seed = Annotated[Whole, Field(ge=-1, le=MAX_SEED)]
Steps = Annotated[Whole, Field(ge=1, le=1000)]
CfgScale = Annotated[Number, Field(ge=0, le=100)]


class Config(BaseModel):
    """The base of all config models: frozen, unknown keys refused.

    section: its name in a file. summary: its purpose; the docstring continues with the meaning of each setting.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, coerce_numbers_to_str=True, defer_build=True
    )
    section: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    _is_writable = field_validator("*")(writable)

    def __init__(self, /, **values: object) -> None:
        """Validate as loading from a file does; raise the same ConfigError."""
        with _as_config_error(type(self)):
            self.__pydantic_validator__.validate_python(values, self_instance=self)

    # Nested sections are validated in place and not through __init__, so that an error keeps its full path.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # pydantic's own switch, on a function

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        """Add the meaning and the type of each setting to what `help` shows."""
        cls.summary = inspect.cleandoc(cls.__doc__ or "")
        cls.__doc__ = f"{cls.summary}\n\n{attributes_text(cls)}"
        cls.__signature__ = signature_of(cls)

    @classmethod
    def model_rebuild(cls, **options: Any) -> bool | None:
        """Build the model as pydantic does (on first use), and keep the signature."""
        built = super().model_rebuild(**options)
        cls.__signature__ = signature_of(cls)  # pydantic has set its own, full of validators
        return built

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> dict[str, Any]:
        """Describe the section by its summary; its settings have their own descriptions there."""
        build_defaults(cls)
        schema = handler(core_schema)
        handler.resolve_ref_schema(schema)["description"] = cls.summary
        return schema

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Validate as pydantic does, but raise ConfigError."""
        with _as_config_error(cls):
            return super().model_validate(obj, **options)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Validate as pydantic does, but raise ConfigError."""
        with _as_config_error(cls):
            return super().model_validate_json(json_data, **options)


Config.__signature__ = signature_of(Config)  # as those of its sections are set


def build_defaults(model: type[BaseModel]) -> None:
    """Build the models of which *model* has an instance as default: pydantic 2.12 and 2.13 write no default before."""
    for field in model.model_fields.values():
        if isinstance(field.default, BaseModel):
            type(field.default).model_rebuild()


@contextlib.contextmanager
def _as_config_error(model: type[Config]) -> Iterator[None]:
    """Raise what validating *model* raises as a ConfigError."""
    try:
        yield
    except ValidationError as error:
        from rxpipe.config.models.pipeline import PipelineConfig  # noqa: PLC0415  # it is made of these models

        raise ConfigError(problems_of(error, model, PipelineConfig)) from None
    except ConfigError:
        raise
    except ValueError as error:  # Python's own, of a number too long to be text
        raise ConfigError([f"{model.section or model.__name__}: {error}"]) from None
