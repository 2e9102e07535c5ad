"""Configs and pictures of ill will: what each costs, and that each ends in a value or in an error of ours.

Run: python tests/benchmarks/bench_fuzz.py [configs] [settings] [pictures] [--share 0.02] [--seed 1]
5,000 configs that are right or nearly so, planned, written and read again; 20,000 that hold valid YAML tags, aliases,
merges, big numbers and depth by construction (and TOML, JSON and --set alike); 5,000 pictures of every format and
dialect, damaged and overfull. Each takes 5 s and 300 MB at most and raises nothing but ConfigError and BadImage. The
suite takes 2 % of it.
"""

# ruff: noqa: S311, T201  a benchmark prints, and its chances are no secrets

from __future__ import annotations

import argparse
import io
import json
import random
import struct
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from PIL import Image
from valid_configs import valid_config

from rxpipe.chains import build_chain
from rxpipe.cli.tables import print_info
from rxpipe.config import SECTIONS, PipelineConfig, override
from rxpipe.errors import BadImage, ConfigError, PlanError
from rxpipe.pictures.metadata import read_info
from rxpipe.presets import read_job, recall
from rxpipe.presets.toml import config_toml

CONFIGS, SETTINGS, PICTURES = 20_000, 5_000, 5_000
DRAWABLE = 0.5
"""The least share of the settings that can be drawn with: else the ways behind their check are not tried."""
LIMIT_S, LIMIT_KIB = 5.0, 300 * 1024

TAGS = ["!!bool", "!!int", "!!float", "!!str", "!!null", "!!timestamp", "!!binary", "!!set", "!!omap", "!!pairs",
        "!!seq", "!!map", "!local", "!!python/name:os.system", "!<tag:yaml.org,2002:int>", "!!merge"]  # fmt: skip
WORDS = ["maybe", "''", "foo", "yes", "0x", "0b2", "1:61", "2024-02-30", "~", ".inf", ".nan", "-", "1e999",
         "'\\x1b[2J'", '"\\e[2J\\u202e"', "0o9", "1_", "=", "<<", "'a: b'", "_", "+", "0x_", "9" * 20]  # fmt: skip
NAMES = [*SECTIONS, "retry", "metadata", "order", "out", "input", "steps", "prompt", "seed", "hires", "units", "styles",
         "override_settings", "alwayson_scripts", "scale", "width", "a", "<<", "1", "''"]  # fmt: skip


# -- configs ----------------------------------------------------------------------------------------------------------


def number(chance: random.Random) -> str:
    """A number, often one of very many digits."""
    digits = chance.choice([1, 3, 19, 99, 101, 400, 4299, 4301, 20_000])
    return (
        chance.choice(["", "-", "0x", "0o", "+"]) + chance.choice("1279") * digits + chance.choice(["", "", ".5", "e9"])
    )


def yaml_value(chance: random.Random, depth: int, anchors: list[str]) -> str:
    """A flow node of YAML: tagged, anchored, aliased, merged, nested."""
    kind = chance.random()
    if anchors and kind < 0.2:
        return f"*{chance.choice(anchors)}"
    tag = f"{chance.choice(TAGS)} " if chance.random() < 0.25 else ""
    if depth <= 0 or kind < 0.45:
        return tag + (number(chance) if chance.random() < 0.3 else chance.choice(WORDS))
    anchor = ""
    if chance.random() < 0.5:
        anchors.append(f"n{len(anchors)}")
        anchor = f"&{anchors[-1]} "
    count = chance.choice([0, 1, 2, 3, 9])
    inner = [yaml_value(chance, depth - 1, anchors) for _ in range(count)]
    if chance.random() < 0.5:
        return f"{anchor}{tag}[{', '.join(inner)}]"
    pairs = (f"{'? ' if chance.random() < 0.1 else ''}{chance.choice(NAMES)}: {value}" for value in inner)
    return f"{anchor}{tag}{{{', '.join(pairs)}}}"


def yaml_config(chance: random.Random) -> str:
    """A whole file, now and then a bomb of aliases or merges, or very deep."""
    anchors: list[str] = []
    kind = chance.random()
    if kind < 0.1:
        wide, high = chance.randint(2, 12), chance.randint(2, 14)
        merge = chance.random() < 0.5
        lines = ["a0: &a0 " + ("{x: 1}" if merge else "[x, x]")]
        for at in range(high):
            inner = ", ".join([f"*a{at}"] * wide)
            lines.append(f"a{at + 1}: &a{at + 1} " + (f"{{<<: [{inner}]}}" if merge else f"[{inner}]"))
        return "\n".join(lines)
    if kind < 0.2:
        deep = chance.choice([5, 63, 64, 65, 500, 5000, 50_000])
        return "txt2img: " + chance.choice(["[", "{a: ", "- ", "!!set {", "&a [", "? "]) * deep
    return "\n".join(f"{name}: {yaml_value(chance, 4, anchors)}" for name in chance.sample(NAMES, 4))


def toml_config(chance: random.Random) -> str:
    """Dotted keys, tables and numbers."""
    key = chance.choice([".", " . ", '."a".']).join([chance.choice(NAMES[:-2])] * chance.choice([1, 2, 64, 66, 5000]))
    value = chance.choice(
        [number(chance), "[" * chance.choice([1, 60, 5000]), '"x"', "{a.b.c = 1}", "1979-05-27", "'''a"]
    )
    return chance.choice(
        [f"{key} = {value}", f"[{key}]", f"[[{key}]]\nx = {value}", f"txt2img = {{ {key} = {value} }}"]
    )


def json_config(chance: random.Random) -> str:
    """Depth, numbers and keys."""
    deep = chance.choice([1, 60, 70, 2000, 100_000])
    value = chance.choice(
        [number(chance), "NaN", "1e999", '"\\ud800"', "[" * deep + "]" * deep, '{"a":' * deep + "1" + "}" * deep]
    )
    return json.dumps(chance.choice(NAMES) * chance.choice([1, 1, 9999])).join(["{", f": {value}}}"])


def config_case(chance: random.Random, folder: Path) -> str:
    """Read one config; its outcome."""
    kind = chance.choice(["yaml"] * 5 + ["toml", "json", "set", "set"])
    if kind == "set":
        name = ".".join(chance.choice(NAMES) for _ in range(chance.choice([1, 2, 2, 2, 3, 80])))
        text = chance.choice(
            [number(chance), yaml_value(chance, 3, []), f"{chance.choice(TAGS)} {chance.choice(WORDS)}"]
        )
        PipelineConfig.from_mapping(override({}, [f"{name}={text}"]))
        return kind
    text = {"yaml": yaml_config, "toml": toml_config, "json": json_config}[kind](chance)
    path = folder / f"config.{kind}"
    path.write_text(text, encoding="utf-8", errors="replace")
    read_job(path).config()
    return kind


class Unlike(AssertionError):
    """A config that is another one after it was written and read."""


def settings_case(chance: random.Random, folder: Path) -> str:
    """Read one config that is right or nearly so, plan it, write it and read it again; its outcome."""
    values = valid_config(chance)
    path = folder / "config.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    config = read_job(path).config()
    again = folder / "again.toml"
    again.write_text(config_toml(config), encoding="utf-8")
    if (read := read_job(again).config()) != config:
        raise Unlike(f"{config!r}\n{read!r}")
    made = build_chain(config)
    made.plan.check(made.images)
    for stage in made.plan.stages:
        for number in {1, made.plan.images}:
            made.images.execution(stage, number).model_dump_json()
    return "drawable"


# -- pictures ---------------------------------------------------------------------------------------------------------


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def text_of(chance: random.Random) -> tuple[str, str]:
    """A key and a text as some tool writes it, or nearly so."""
    many = chance.choice([1, 3, 100, 5000])
    long = "x" * chance.choice([1, 100, 1_000_000])
    entry = {
        "stage": chance.choice([*SECTIONS, "custom"]),
        "backend": "b",
        "settings": {chance.choice(NAMES): 1, "seed": 1},
    }
    graph = {
        str(n): {"class_type": "K", "inputs": {"positive": [str(n + 1), 0], "text": long[:9]}} for n in range(many)
    }
    return chance.choice([
        ("parameters", f"{long}\nNegative prompt: {long}\nSteps: {number(chance)}, Seed: {number(chance)}, Size: 8x8"),
        ("parameters", "p\n" + "ab: c, " * many * 20),
        ("parameters", json.dumps({"sui_image_params": {f"k{n}": n for n in range(many)}})),
        ("rxpipe", json.dumps({"id": "x", "lineage": [entry] * many})),
        ("rxpipe", '{"id":' + "[" * many * 10),
        ("rxpipe", json.dumps({"id": "x", "seed": 1}).replace("1", number(chance))),
        ("prompt", json.dumps(graph)),
        ("prompt", '{"a":' + "[" * many * 10 + "]" * many * 10 + "}"),
        ("invokeai_metadata", json.dumps({"positive_prompt": long, "model": {"name": ["x"] * many}})),
        ("Comment", json.dumps({"prompt": long, "uc": ["\x1b[2J"] * many})),
    ])  # fmt: skip


def png_picture(chance: random.Random) -> bytes:
    """A PNG with texts, chunks and claims."""
    side = chance.choice([1, 8, 64, 2**20, 2**31 - 1])
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", side, 8, 8, 0, 0, 0, 0))]
    for _ in range(chance.choice([0, 1, 2, 5])):
        key, text = text_of(chance)
        raw, body = key.encode("latin-1"), text.encode("utf-8", "replace")
        packed = zlib.compress(body)
        parts.append(chance.choice([
            chunk(b"tEXt", raw + b"\0" + body),
            chunk(b"iTXt", raw + b"\0\0\0\0\0" + body),
            chunk(b"iTXt", raw + b"\0\1\0\0\0" + packed),
            chunk(b"zTXt", raw + b"\0\0" + packed),
            chunk(b"zTXt", raw + b"\0\0" + zlib.compress(bytes(chance.choice([9, 2 << 20, 50 << 20])), 1)),
        ]))  # fmt: skip
    parts.append(chunk(chance.choice([b"teXt", b"tEXt"]), b"k\0v") * chance.choice([0, 0, 0, 100, 10_000, 210_000]))
    parts += [chunk(b"IDAT", zlib.compress(bytes(72))), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def other_picture(chance: random.Random) -> bytes:
    """A picture of another format, with a text in its EXIF, large now and then."""
    kind = chance.choice(["JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
    large = 0.02 if kind not in {"AVIF", "WEBP"} else 0.005
    side = chance.choice([3000, 7000]) if chance.random() < large else chance.choice([1, 16, 100])
    image, out = Image.new("L" if kind == "GIF" else "RGB", (side, side)), io.BytesIO()
    exif = image.getexif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + text_of(chance)[1][:20_000].encode("utf-16-be", "replace")
    image.save(out, kind, **({} if kind in {"GIF", "BMP"} else {"exif": exif}))
    return out.getvalue()


def damaged(chance: random.Random, data: bytes) -> bytes:
    """The same with bytes flipped, cut off or repeated."""
    if chance.random() < 0.5:
        return data
    broken = bytearray(data)
    for _ in range(chance.choice([1, 3, 30])):
        broken[chance.randrange(min(len(broken), 400))] = chance.randrange(256)
    return bytes(broken[: chance.randrange(len(broken)) + 1] if chance.random() < 0.3 else broken)


def picture_case(chance: random.Random, folder: Path) -> str:
    """Print one picture's metadata and read it as a job; its outcome."""
    path = folder / "picture"
    data = png_picture(chance) if chance.random() < 0.6 else other_picture(chance)
    path.write_bytes(damaged(chance, data))
    del data
    reset_peak()  # making the picture is not what is measured
    began = time.process_time()
    try:
        info = read_info(path)
        kept, sys.stdout = sys.stdout, io.StringIO()
        try:
            print_info(path, info)
        finally:
            sys.stdout = kept
        recall(path, trust=chance.choice([None, True, False]))
    finally:
        picture_case.took_s = time.process_time() - began
    return "picture"


# -- the measurement --------------------------------------------------------------------------------------------------


def peak_kib() -> int:
    """The most memory since the last `reset_peak`."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def reset_peak() -> None:
    """Forget the most memory so far, where the system can."""
    Path("/proc/self/clear_refs").write_text("5")


def run(case, count: int, seed: int) -> tuple[list[str], str]:
    """Run *count* cases; the lines about what went wrong, and a line of figures."""
    wrong, outcomes, slowest, largest = [], Counter(), 0.0, 0
    with tempfile.TemporaryDirectory() as name:
        for at in range(count):
            chance = random.Random(f"{seed}-{at}")
            began = time.process_time()
            case.took_s = None
            reset_peak()
            try:
                outcome = case(chance, Path(name))
            except (ConfigError, PlanError, BadImage) as error:
                outcome = type(error).__name__
                shown = str(error)
                if len(shown) > 30_000 or not all(char.isprintable() or char == "\n" for char in shown):
                    wrong.append(f"case {at}: a message of {len(shown)} characters: {shown[:200]!r}")
            except Exception:  # noqa: BLE001  that is what is looked for
                outcome = "TRACEBACK"
                wrong.append(f"case {at}: {traceback.format_exc()[-900:]}")
            took_s = time.process_time() - began if case.took_s is None else case.took_s
            peak = peak_kib()
            outcomes[outcome] += 1
            slowest, largest = max(slowest, took_s), max(largest, peak)
            if took_s > LIMIT_S or peak > LIMIT_KIB:
                wrong.append(f"case {at}: {took_s:.1f} s, {peak // 1024} MB ({outcome})")
    if case is settings_case and outcomes["drawable"] < DRAWABLE * count:
        wrong.append(f"only {outcomes['drawable']} of {count} can be drawn with")
    counts = ", ".join(f"{n} {outcome}" for outcome, n in outcomes.most_common())
    return wrong, f"slowest {slowest:.2f} s, most memory {largest // 1024} MB; {counts}"


def main() -> int:
    """Run both kinds; the exit code is 1 if one input was not as it must be."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*", default=["configs", "settings", "pictures"])
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    failed = False
    for kind in options.kinds:
        case, total = {
            "configs": (config_case, CONFIGS),
            "settings": (settings_case, SETTINGS),
            "pictures": (picture_case, PICTURES),
        }[kind]
        count = round(total * options.share)
        wrong, figures = run(case, count, options.seed)
        print(f"{kind:9} {count:6}  {figures}  {'MISSED' if wrong else 'met'}", flush=True)
        print("".join(f"  {line}\n" for line in wrong[:10]), end="")
        failed = failed or bool(wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
