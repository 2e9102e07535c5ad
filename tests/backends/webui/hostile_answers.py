"""Answers that no honest server gives, by their number: shared by the suite and `tests/benchmarks/bench_answers.py`."""

from __future__ import annotations

import base64
import json
import random
import struct
import zlib
from typing import TYPE_CHECKING

from rxpipe.backends.http.connection import Response
from rxpipe.backends.http.failures import ErrorHints, RequestInfo, message_of, refusal, retry_after_s
from rxpipe.backends.webui.answers import Answer, read_generation, read_picture, read_single
from rxpipe.backends.webui.progress import ServerSnapshot, TaskSnapshot, _valid
from rxpipe.errors import RxPipeError

if TYPE_CHECKING:
    from collections.abc import Callable

ASKED = 64 * 64


def chunk(name: bytes, data: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def picture(dice: random.Random) -> bytes:
    """A PNG, whole or broken, honest or not."""
    width, height = dice.choice([(8, 8), (64, 64), (40_000, 40_000), (1, 2**31 - 1), (0, 5), (2**32 - 1, 1)])
    colour, depth = dice.choice([(2, 8), (6, 16), (3, 8), (0, 1), (5, 8), (2, 3)])
    pixels = zlib.compress(bytes(min(width * height * 4, 1 << dice.randrange(1, 22))), 9)
    parts = [
        chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, dice.randrange(2))),
        *(chunk(b"tEXt", b"k\0" + bytes(1 << dice.randrange(20))) for _ in range(dice.randrange(3))),
        *(chunk(b"IDAT", pixels) for _ in range(dice.randrange(3))),
        chunk(b"IEND", b""),
    ]
    if dice.random() < 0.2:
        dice.shuffle(parts)
    data = bytearray(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    for _ in range(dice.choice([0, 0, 1, 5])):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(data[: dice.randrange(len(data))] if dice.random() < 0.1 else data)


def value(dice: random.Random, depth: int = 0) -> object:
    """Any JSON, often of a kind that is not expected there."""
    kinds: list[Callable[[], object]] = [
        lambda: None,
        lambda: dice.choice([0, -1, 2**63, 2**31, 10**400, -(10**4000), 1e308, float("nan"), float("inf")]),
        lambda: dice.choice(["", "\x00cut", "\ud800", "\x1b[2J", "\u202e", "a" * (1 << dice.randrange(16))]),
        lambda: base64.b64encode(picture(dice)).decode(),
        lambda: [value(dice, depth + 1) for _ in range(dice.randrange(5))],
        lambda: {dice.choice(KEYS): value(dice, depth + 1) for _ in range(dice.randrange(5))},
        lambda: json.dumps(value(dice, depth + 1)),
    ]
    return dice.choice(kinds[:4] if depth > 4 else kinds)()


KEYS = ["images", "image", "info", "seed", "all_seeds", "infotexts", "index_of_first_image", "parameters", "detail"]
KEYS += ["progress", "state", "job_count", "current_image", "active", "queued", "message", "errors", "error", "msg"]


def answer(number: int) -> bytes:
    """The body of that number; mostly near an honest one, sometimes huge, deep or torn."""
    dice = random.Random(number)  # noqa: S311  # the same each time, guards nothing
    pictures = [base64.b64encode(picture(dice)).decode() for _ in range(dice.choice([0, 1, 1, 1, 2, 9]))]
    info = {"seed": value(dice), "all_seeds": value(dice), "infotexts": value(dice)}
    if dice.random() < 0.6:
        info = {"seed": 5, "all_seeds": [5], "infotexts": [str(value(dice))], "index_of_first_image": 0}
    honest = {"images": pictures, "image": (pictures or [""])[0], "parameters": {}, "info": json.dumps(info)}
    special: list[Callable[[], bytes]] = [
        lambda: b"[" * dice.choice([10, 1_000, 1_000_000]),
        lambda: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        lambda: b'{"images":[' + b'"",' * 2_000_000 + b'""]}',
        lambda: b"[" + dice.choice([b"[],", b"{},", b"0,"]) * 3_000_000 + b"0]",
        lambda: b'{"images":["' + b"A" * (12 << 20),
        lambda: b'{"progress":' + b"9" * 5_000 + b"}",
        lambda: bytes(dice.randrange(256) for _ in range(dice.randrange(3_000))),
        lambda: b"<html>" + b"<" * (1 << 20),
    ]
    roll = dice.random()
    if roll < 0.03:
        return dice.choice(special)()
    if roll < 0.25:
        return json.dumps(value(dice)).encode("utf-8", "replace")
    for _ in range(dice.randrange(3)):
        honest[dice.choice(KEYS)] = value(dice)
    body = bytearray(json.dumps(honest).encode("utf-8", "replace"))
    for _ in range(dice.choice([0, 0, 0, 1, 9])):
        body[dice.randrange(len(body))] = dice.randrange(256)
    return bytes(body[: dice.randrange(len(body))] if dice.random() < 0.1 else body)


def read_every_way(number: int) -> list[str]:
    """Read that answer in every way in which an answer is read; the types of the errors, which are all ours."""
    body, errors = answer(number), []
    asked = RequestInfo("POST", "/sdapi/v1/txt2img", "http://127.0.0.1:7860")
    dice = random.Random(number)  # noqa: S311  # keeps no secret
    status = dice.choice([302, 401, 404, 422, 429, 500, 503])
    header = {
        "Retry-After": dice.choice(["", "1", "9" * 30, "Mon, 99 Foo 9999 99:99:99"]),
        "Location": str(value(dice)),
    }

    def pictures(read_answer: Callable[[], object]) -> None:
        for one in read_answer().pictures:  # type: ignore[attr-defined]  # an answer of txt2img
            read_picture(Answer([one]).take(0), asked=ASKED)

    for reading in (
        lambda: pictures(lambda: read_generation(body, expected=1)),
        lambda: pictures(lambda: read_generation(body, expected=2)),
        lambda: pictures(lambda: read_single(body)),
        lambda: _valid(TaskSnapshot, body),
        lambda: _valid(ServerSnapshot, body),
        lambda: message_of(body),
        lambda: str(refusal(ErrorHints(), asked, Response(status, body, 0.1, header))),
        lambda: retry_after_s(header["Retry-After"]),
    ):
        try:
            reading()
        except RxPipeError as error:
            errors.append(type(error).__name__)
            if len(str(error)) > 2_000:
                raise AssertionError(f"answer {number}: a message of {len(str(error))} characters") from error
    return errors
