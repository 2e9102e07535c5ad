"""Look up the settings of config models by their dotted names, and describe them."""

from __future__ import annotations

from functools import reduce
from inspect import Parameter, Signature
from operator import or_
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


def sections(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield every section below *model* with its dotted name."""
    for name, found in model.model_fields.items():
        inner = model_in(found.annotation)
        if inner is not None:
            yield f"{path}{name}", inner
            yield from sections(inner, f"{path}{name}.")


def names_at(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """Return the names allowed at *path* below *model*; its own where the path leads through something untyped."""
    for key in path:
        found = model.model_fields.get(str(key))
        inner = model_in(found.annotation) if found else None
        model = inner or model
    return list(model.model_fields)


def model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the config model that an annotation such as `HiresConfig | None` holds, None if there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    parts = getattr(annotation, "__args__", ())
    return next((found for part in parts if (found := model_in(part))), None)


def kinds_at(root: type[BaseModel], keys: Sequence[str]) -> set[object]:
    """Return the types that the setting at *keys* below *root* may have; none where there is no such setting."""
    model: type[BaseModel] | None = root
    for key in keys[:-1]:
        found = model.model_fields.get(key) if model else None
        model = model_in(found.annotation) if found else None
    found = model.model_fields.get(keys[-1]) if model else None
    return set(kinds(found.annotation)) if found else set()


def kinds(annotation: Any) -> Iterable[Any]:
    """Return the members of a union without their annotations."""
    if get_origin(annotation) is Annotated:
        return kinds(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return [kind for part in get_args(annotation) for kind in kinds(part)]
    return [annotation]


def attributes_text(model: type[BaseModel]) -> str:
    """Return what each setting of *model* means, as a section of a docstring."""
    lines = [f"    {name}: {field.description}" for name, field in model.model_fields.items() if field.description]
    return "\n".join(["Attributes:", *lines])


def signature_of(model: type[BaseModel]) -> Signature:
    """Return the settings of *model* with their types and defaults, without validators."""
    parameters = [
        Parameter(
            name,
            Parameter.KEYWORD_ONLY,
            annotation=reduce(or_, kinds(field.annotation)),
            default=Parameter.empty if field.is_required() else field.get_default(call_default_factory=True),
        )
        for name, field in model.model_fields.items()
    ]
    if model.model_config.get("extra") == "allow":
        parameters.append(Parameter("further", Parameter.VAR_KEYWORD))
    return Signature(parameters, return_annotation=None)
