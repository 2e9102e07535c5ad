"""What a picture says about itself, whoever made it: rxpipe, A1111, ComfyUI, SwarmUI, InvokeAI, NovelAI, Fooocus.

Beside config and artifact in the row; reads bytes, writes nothing. Settings come out under A1111's names in every
dialect, so that a picture of any tool can be compared with, or drawn again by, another.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from rxpipe.errors import BadImage
from rxpipe.pictures import a1111, png
from rxpipe.pictures.dialect import LABELS, Dialect, Parsed, as_settings, json_object, main_text, text_in
from rxpipe.pictures.lineage import LINEAGE_KEY, Lineage, parse_lineage

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Dialect", "ImageInfo", "read_info"]

_EXIF_IFD = 0x8769
_USER_COMMENT, _MAKER_NOTE = 0x9286, 0x927C
_EXIF_TEXTS = {0x010E: "ImageDescription", 0x010F: "Make", 0x0110: "Model", 0x0131: "Software"}
_UNDECODABLE = (OSError, SyntaxError, ValueError, struct.error, RuntimeError)  # Pillow's; the last from AVIF
_EMBEDDED = re.compile(r"(prompt|workflow):(\{.*)", re.IGNORECASE | re.DOTALL)  # ComfyUI in WebP: a key within a text


class ImageInfo(BaseModel):
    """A picture's format, size and all that is written in it.

    format: Pillow's name, such as PNG. width, height: pixels as stored, before any EXIF rotation.
    dialect: whose words they are; None where nothing was understood.
    settings: A1111's names (Steps, Sampler, CFG scale, Seed, Size, Model, ...) to values as text, in the file's order.
    lineage: what rxpipe noted; None for pictures of others.
    texts: everything as found, by key; EXIF under `UserComment`, `Software` and the like, a GIF's or JPEG's under
        `comment`.
    problems: what stood there but could not be understood.
    """

    model_config = ConfigDict(frozen=True)
    format: str
    width: int
    height: int
    dialect: Dialect | None = None
    prompt: str = ""
    negative_prompt: str = ""
    settings: dict[str, str] = Field(default_factory=dict)
    lineage: Lineage | None = None
    texts: dict[str, str] = Field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def seed(self) -> int | None:
        """What it was drawn from, None where nobody said."""
        said = self.settings.get("Seed", "")
        if re.fullmatch(r"-?\d{1,20}", said):
            return int(said)
        return self.lineage.seed if self.lineage else None


def read_info(source: Path | str | bytes) -> ImageInfo:
    """All that a picture says about itself.

    Args:
        source: a file, or the encoded picture. PNG is read without Pillow, all else with it.

    Raises:
        BadImage: no such file, no picture, or a torn one; says which file and where.
    """
    if isinstance(source, bytes):
        return _read(source)
    path = Path(source)
    try:
        return _read(path.read_bytes())
    except FileNotFoundError as error:
        raise BadImage(f"{path}: no such file.", hint="Give the path of a picture.") from error
    except OSError as error:
        raise BadImage(f"{path}: cannot be read: {error.strerror}.", hint="Give the path of a picture.") from error
    except BadImage as error:
        raise BadImage(f"{path}: {error.message}", hint=error.hint) from error


def _read(data: bytes) -> ImageInfo:
    size = png.pixel_size(data)
    if size is not None and size.format == "PNG":
        header = png.check(data)
        return _parse("PNG", header.width, header.height, png.read_text(data))
    return _read_with_pillow(data)


def _parse(kind: str, width: int, height: int, texts: dict[str, str]) -> ImageInfo:
    said = next((found for read in _DIALECTS if (found := read(texts)) is not None), Parsed())
    lineage, problem = parse_lineage(texts.get(LINEAGE_KEY))
    return ImageInfo(
        format=kind,
        width=width,
        height=height,
        dialect="rxpipe" if lineage else said.dialect,
        prompt=_sound(said.prompt),
        negative_prompt=_sound(said.negative_prompt),
        settings={_sound(key): _sound(value) for key, value in said.settings.items()},
        lineage=lineage,
        texts={_sound(key): _sound(value) for key, value in texts.items()},
        problems=(problem,) if problem else (),
    )


def _sound(text: str) -> str:
    """*text* with "?" for lone surrogates, which JSON can hold and nothing else can."""
    return text.encode("utf-8", "replace").decode()


# -- other formats than PNG -------------------------------------------------------------------------------------------


def _read_with_pillow(data: bytes) -> ImageInfo:
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415  # importing rxpipe loads no Pillow

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong enough comes as an error
            with Image.open(io.BytesIO(data)) as image:
                image.load()
                return _parse(image.format or "unknown", *image.size, _texts_of(image))
    except UnidentifiedImageError as error:
        raise BadImage(
            f"Not a picture that can be read: it begins with {data[:12]!r}.",
            hint="Give a PNG, JPEG, WebP, AVIF or GIF.",
        ) from error
    except (*_UNDECODABLE, Image.DecompressionBombError) as error:
        raise BadImage(f"The picture cannot be decoded: {error}.", hint="Fetch or draw it again.") from error


def _texts_of(image: Image.Image) -> dict[str, str]:
    texts = {}
    if comment := image.info.get("comment"):
        texts["comment"] = _decoded(comment)
    exif = image.getexif()
    inner = exif.get_ifd(_EXIF_IFD)
    for tag, name in _EXIF_TEXTS.items():
        if tag in exif:
            texts[name] = _decoded(exif[tag])
    if said := inner.get(_USER_COMMENT, exif.get(_USER_COMMENT)):
        texts["UserComment"] = _user_comment(said)
    note = inner.get(_MAKER_NOTE, exif.get(_MAKER_NOTE))
    if isinstance(note, str):  # a camera's is binary; Fooocus writes a word
        texts["MakerNote"] = note
    for text in list(texts.values()):
        if part := _EMBEDDED.match(text):
            texts[part[1].lower()] = part[2]
    return texts


def _decoded(value: object) -> str:
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).rstrip("\0")


def _user_comment(value: object) -> str:
    """The text of EXIF UserComment: 8 bytes that name its coding, then the text; some writers leave the name out."""
    if not isinstance(value, bytes):
        return str(value).rstrip("\0")
    coding, body = value[:8], value[8:]
    if coding == b"UNICODE\0":
        # Big-endian by habit; EXIF lets the file's own byte order hold, and some follow it. Text has many small codes.
        little = body.startswith(b"\xff\xfe") or body[1::2].count(0) > body[::2].count(0)
        return body.decode("utf-16-le" if little else "utf-16-be", "replace").lstrip("\ufeff").rstrip("\0")
    return _decoded(body if coding in {b"ASCII\0\0\0", bytes(8)} else value)


# -- dialects ---------------------------------------------------------------------------------------------------------

_SIZE_PAIR = re.compile(r"\(?(\d+), ?(\d+)\)?")


def _swarmui(texts: Mapping[str, str]) -> Parsed | None:
    values = json_object(main_text(texts)) or {}
    params = values.get("sui_image_params")
    if not isinstance(params, dict):
        return None
    extra = values.get("sui_extra_data")
    params = {**params, **(extra if isinstance(extra, dict) else {})}
    return Parsed(
        dialect="swarmui",
        prompt=text_in(params, "prompt"),
        negative_prompt=text_in(params, "negativeprompt"),
        settings=as_settings(params, leave=frozenset({"prompt", "negativeprompt"})),
    )


def _fooocus(texts: Mapping[str, str]) -> Parsed | None:
    scheme = texts.get("fooocus_scheme") or texts.get("MakerNote")
    made_by = texts.get("Software", "")
    values = json_object(main_text(texts))
    if values is None:
        marked = "fooocus_scheme" in texts or made_by.startswith("Fooocus")
        return a1111.read_text(main_text(texts), "fooocus") if marked and scheme == "a1111" else None
    if scheme != "fooocus" and not {"base_model", "guidance_scale"} <= values.keys():
        return None
    size = _SIZE_PAIR.fullmatch(str(values.get("resolution", "")))
    if size:
        values["resolution"] = f"{size[1]}x{size[2]}"
    return Parsed(
        dialect="fooocus",
        prompt=text_in(values, "prompt", "full_prompt"),
        negative_prompt=text_in(values, "negative_prompt", "full_negative_prompt"),
        settings=as_settings(values, leave=frozenset({"prompt", "negative_prompt"}), resolution="Size"),
    )


def _invokeai(texts: Mapping[str, str]) -> Parsed | None:
    values = json_object(texts.get("invokeai_metadata"))
    if values is None:
        return None
    model = values.get("model")
    if isinstance(model, dict):
        values["model"] = model.get("name") or model.get("model_name") or model
    return Parsed(
        dialect="invokeai",
        prompt=text_in(values, "positive_prompt"),
        negative_prompt=text_in(values, "negative_prompt"),
        settings=as_settings(values, leave=frozenset({"positive_prompt", "negative_prompt"}), scheduler="Sampler"),
    )


def _novelai(texts: Mapping[str, str]) -> Parsed | None:
    if not texts.get("Software", "").startswith("NovelAI"):
        return None
    values = json_object(texts.get("Comment")) or {}
    return Parsed(
        dialect="novelai",
        prompt=text_in(values, "prompt") or texts.get("Description", ""),
        negative_prompt=text_in(values, "uc"),
        settings=as_settings({**values, "model": texts.get("Source")}, leave=frozenset({"prompt", "uc"})),
    )


def _comfyui(texts: Mapping[str, str]) -> Parsed | None:
    graph = json_object(texts.get("prompt")) or {}
    nodes = {key: node for key, node in graph.items() if isinstance(node, dict) and "class_type" in node}
    if not nodes and "nodes" not in (json_object(texts.get("workflow")) or {}):
        return None
    summary = a1111.read_text(main_text(texts), "comfyui")  # some of its saving nodes write A1111's text too
    if summary is not None and summary.settings:
        return summary
    return _read_graph(nodes)


_DIALECTS = (_swarmui, _fooocus, _invokeai, _novelai, _comfyui, a1111.read)


# -- ComfyUI's graph --------------------------------------------------------------------------------------------------

_Nodes = Mapping[str, dict[str, object]]
_GRAPH_SETTINGS = frozenset(
    {*LABELS, "width", "height", "denoise", "upscale_method", "scale_by"} - {"model", "vae", "scale", "strength"}
)


def _read_graph(nodes: _Nodes) -> Parsed:
    """Prompts and settings of a ComfyUI graph: of its first sampler, and of the nodes that feed it."""
    sampler = _sampler(nodes)
    order = sorted(nodes, key=lambda key: key != sampler)
    values: dict[str, object] = {}
    for key in order:
        for name, value in _inputs(nodes, key).items():
            if name in _GRAPH_SETTINGS and isinstance(value, str | int | float):
                values.setdefault(name, value)
    feeds = _inputs(nodes, sampler)
    prompt = _text_behind(nodes, feeds.get("positive", feeds.get("conditioning")))
    negative = _text_behind(nodes, feeds.get("negative"))
    return Parsed(dialect="comfyui", prompt=prompt, negative_prompt=negative, settings=as_settings(values))


def _sampler(nodes: _Nodes) -> str:
    """The node that the prompts flow into: rather one that knows steps, such as KSampler; "" where there is none."""
    for wanted in ({"positive", "negative", "steps"}, {"positive", "negative"}, {"conditioning"}):
        for key in nodes:
            if wanted <= _inputs(nodes, key).keys():
                return key
    return ""


def _inputs(nodes: _Nodes, key: str) -> Mapping[str, object]:
    inputs = nodes.get(key, {}).get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _text_behind(nodes: _Nodes, link: object) -> str:
    """The nearest text that flows into *link*, through any nodes between."""
    waiting, seen = [link], set()
    while waiting:
        at = waiting.pop(0)
        key = at[0] if isinstance(at, list) and at else None
        if not isinstance(key, str) or key in seen:
            continue
        seen.add(key)
        inputs = _inputs(nodes, key)
        if text := text_in(
            {k: v for k, v in inputs.items() if isinstance(v, str)}, "text", "text_g", "text_l", "value"
        ):
            return text
        waiting.extend(value for value in inputs.values() if isinstance(value, list))
    return ""
