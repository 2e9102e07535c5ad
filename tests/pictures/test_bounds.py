"""Pictures of strangers: whatever is in them is read or refused in seconds and a bounded part of the memory."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import time
import zlib

import pytest
from PIL import Image

from rxpipe.errors import BadImage
from rxpipe.pictures import png
from rxpipe.pictures.lineage import MAX_STAGES
from rxpipe.pictures.metadata import DECODED_PIXELS, read_info

LIMIT_S, LIMIT_KIB = 5, 300 * 1024

PROGRAM = """
import resource, sys
from pathlib import Path
from rxpipe.cli import main
sys.argv = ["rxpipe", *sys.argv[1:]]
try:
    main()
finally:
    peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"\\n{peak} {used.ru_utime + used.ru_stime}", file=sys.stderr)
"""


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def picture(*chunks: bytes) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG")
    data = out.getvalue()
    at = data.index(b"IDAT") - 4
    return data[:at] + b"".join(chunks) + data[at:]


def text(key: str, content: str) -> bytes:
    return chunk(b"iTXt", key.encode() + b"\0\0\0\0\0" + content.encode())


def lineage(entries: int) -> str:
    entry = {"stage": "txt2img", "backend": "b", "settings": {}}
    return json.dumps({"id": "x", "lineage": [entry] * entries}, separators=(",", ":"))


def packed(key: str, content: str) -> bytes:
    return chunk(b"iTXt", key.encode() + b"\0\1\0\0\0" + zlib.compress(content.encode()))


GRAPH = {"1": {"class_type": "K", "inputs": {"positive": ["2", 0], "negative": 1}}}
GRAPH["2"] = {"class_type": "K", "inputs": {f"k{n}": [] for n in range(150_000)}}

HOSTILE = {
    "a text of 200 MB": (lambda: picture(text("parameters", "x" * 200_000_000)), "more than 4 MiB of text"),
    "1.5 million chunks": (lambda: picture(chunk(b"tEXt", b"k\0v") * 1_500_000), "more than 200,000 chunks"),
    "1.5 million empty chunks": (lambda: picture(chunk(b"teXt", b"") * 1_500_000), "more than 200,000 chunks"),
    "100,000 lineage entries": (lambda: picture(text("rxpipe", lineage(70_000))), "at most 1000 items"),
    "100,000 packed lineage entries": (
        lambda: picture(packed("rxpipe", lineage(100_000))),
        "unpacks to more than 1 MiB",
    ),
    "a line that could be one pair": (lambda: picture(text("parameters", ":::\n" + "a" * 4_000_000 + ":::")), ""),
    "a line of pairs": (lambda: picture(text("parameters", "p\n" + "ab: c, " * 500_000)), ""),
    "a long line of pairs": (lambda: picture(text("parameters", "p\n" + "ab: c, " * 18_000)), ""),
    "lines": (lambda: picture(text("parameters", "\n" * 4_000_000)), ""),
    "many texts": (lambda: picture(*(text(f"key {n}", "x") for n in range(100_000))), "key 9 (1), "),
    "a graph of many links": (lambda: picture(text("prompt", json.dumps(GRAPH, separators=(",", ":")))), "comfyui"),
    "many empty lists": (lambda: picture(text("prompt", '{"a":[' + "[]," * 1_300_000 + "0]}")), "PNG, 8x8"),
    "many settings": (
        lambda: picture(text("parameters", json.dumps({"sui_image_params": {f"k{n}": n for n in range(200_000)}}))),
        "more; --json prints all",
    ),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["info"], id="info"),
        pytest.param(["info", "--json"], id="json", marks=pytest.mark.slow),
        pytest.param(["run", "--dry-run"], id="run", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_a_picture_without_bounds_takes_seconds_and_little_memory(tmp_path, name, command):
    """`info` and rendering again read no more of it than they need, and print no more than can be read."""
    make, told = HOSTILE[name]
    path = tmp_path / "stranger.png"
    path.write_bytes(make())
    ran = subprocess.run(  # noqa: S603  fixed words
        [sys.executable, "-c", PROGRAM, *command, path],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    peak, used = ran.stderr.split()[-2:]
    assert "Traceback" not in ran.stderr
    assert float(used) < LIMIT_S
    assert int(peak) < LIMIT_KIB
    if command == ["info"]:
        assert told in ran.stdout + ran.stderr


def test_the_pixels_of_a_file_are_checked_and_never_in_memory(tmp_path):
    """A wrong checksum is found in a file as in bytes."""
    pixels = os.urandom(1 << 21)
    body = zlib.compress(pixels, 0)
    data = bytearray(picture(chunk(b"IDAT", body)))
    path = tmp_path / "a.png"
    data[1 << 20] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadImage, match="IDAT at byte 33 has a wrong checksum"):
        read_info(path)
    with pytest.raises(BadImage, match="IDAT at byte 33 has a wrong checksum"):
        png.check(bytes(data))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
def test_of_a_huge_picture_only_the_header_is_read(kind, tmp_path, monkeypatch):
    """Its pixels would fill the memory."""
    path = tmp_path / "a"
    Image.new("1" if kind == "TIFF" else "L", (400, 300)).save(path, kind)
    whole = path.stat().st_size
    monkeypatch.setattr("rxpipe.pictures.metadata.DECODED_PIXELS", 400 * 300 - 1)
    if kind in {"JPEG", "BMP"}:
        os.truncate(path, whole - 20)
    assert (read_info(path).width, read_info(path).height) == (400, 300)
    assert DECODED_PIXELS * 4 < 100e6


def test_what_pillow_would_give_to_another_program_is_not_opened(tmp_path):
    """PostScript is run by Ghostscript."""
    path = tmp_path / "a.eps"
    Image.new("L", (9, 9)).save(path, "EPS")
    with pytest.raises(BadImage, match="none of a known format"):
        read_info(path)


def test_a_picture_may_have_gone_through_many_stages():
    """As many as are shown."""
    assert len(read_info(picture(text("rxpipe", lineage(MAX_STAGES)))).lineage.lineage) == MAX_STAGES


def test_scans_of_a_jpeg_are_bounded():
    """Each goes over all pixels."""
    out = io.BytesIO()
    Image.new("L", (64, 64)).save(out, "JPEG", progressive=True)
    data = out.getvalue()
    scan = data[data.index(b"\xff\xda") : -2]
    began = time.process_time()
    assert read_info(data[:-2] + scan * 50_000 + data[-2:]).format == "JPEG"
    assert time.process_time() - began < LIMIT_S
