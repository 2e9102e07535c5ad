"""The recordings of three real ComfyUI servers, and what of an answer must be equal to them."""

import base64
import gzip
import json
import re
from functools import cache
from pathlib import Path

import requests

RECORDINGS = Path(__file__).parents[1] / "data" / "comfyui.jsonl.gz"
MOMENTS = ("timestamp", "create_time", "execution_start_time", "execution_end_time", "number", "priority", "modified")
MEASURED = ("ram_total", "ram_free", "vram_total", "vram_free", "torch_vram_total", "torch_vram_free", "created")
IN_ANY_ORDER = ("executed", "current_outputs")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@cache
def recordings(kind):
    """Every recorded exchange, session or graph, by version and name."""
    lines = gzip.decompress(RECORDINGS.read_bytes()).decode().splitlines()
    return {(one.get("version"), one["name"]): one for one in map(json.loads, lines) if one["kind"] == kind}


def exchange(version, start):
    """The recorded exchange of a version whose name begins so."""
    return next(one for (of, name), one in recordings("exchange").items() if of == version and name.startswith(start))


def plain(value, key=""):
    """An answer without what is another one each time: ids, moments, measured sizes, counters of files, tensors."""
    if key in MOMENTS or key in MEASURED:
        return type(value).__name__ == "str" or 0
    if key == "prompt" and isinstance(value, list):
        return ["number", *(plain(entry) for entry in value[1:])]
    if isinstance(value, dict):
        return {UUID.sub("ID", name): plain(entry, name) for name, entry in value.items()}
    if key == "traceback":  # of a validation line by line, of an execution only that it is one
        lines = [re.sub(r'File "[^"]*"', "File", line) for line in value]
        return lines if "validate_inputs" in value[0] else [line.split(",")[0] for line in lines][:1]
    if key in IN_ANY_ORDER:
        return sorted(value)
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    if isinstance(value, str) and value.startswith("tensor("):
        return "a tensor"
    return named(value) if isinstance(value, str) else value


def text_of(value):
    """JSON as text: 1 is not 1.0, and keys have an order."""
    return json.dumps(value)


def named(text):
    """A text without ids, dates and the counters of files."""
    text = UUID.sub("ID", text)
    text = re.sub(r"ComfyUI_temp_[a-z]{5}_", "ComfyUI_temp_abcde_", text)
    text = re.sub(r"_\d{5}_", "_00001_", text)
    text = re.sub(r"127\.0\.0\.1:\d+|localhost:\d+", "SERVER", text)
    return re.sub(r"\d{4}-\d\d-\d\d", "DATE", text)


def shape(value):
    """Keys and types; of a list the set of its entries' shapes."""
    if isinstance(value, dict):
        return {UUID.sub("ID", name): shape(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(entry), sort_keys=True) for entry in value})
    return type(value).__name__


def send(server, request, path=None):
    """Send a recorded request to a server; ids in its path may be others."""
    headers = {name: value.replace("127.0.0.1:8288", f"127.0.0.1:{server.port}") for name, value in headers_of(request)}
    options = {}
    if "multipart" in request:
        form = request["multipart"]
        options["files"] = {
            name: (file["filename"], data_of(file), file["content_type"]) for name, file in form["files"].items()
        } or {"none": (None, "")}
        options["data"] = form["fields"]
    elif "body_text" in request:
        options["data"] = request["body_text"].encode()
    elif "json" in request:
        options["json"] = request["json"]
    url = server.url + (path or request["path"])
    return requests.request(request["method"], url, headers=headers, timeout=10, **options)


def headers_of(request):
    """The headers that the client itself does not write."""
    return [(name, value) for name, value in request["headers"].items() if name != "Content-Type"]


def data_of(file):
    """The bytes of an uploaded file; zeros where the recording left them out."""
    return bytes(file["size"]) if file["b64"].startswith("(") else base64.b64decode(file["b64"])


def assert_answers(answer, recorded, name):
    """Check status, the headers that matter, and the body of an answer."""
    assert answer.status_code == recorded["status"], (name, answer.text)
    assert answer.headers["server"] == "Python/3.11 aiohttp/3.14.5", name
    for header, value in recorded["headers"].items():
        got = answer.headers.get(header, "")
        if header == "Content-Type":
            got, value = got.lower(), value.lower()  # noqa: PLW2901  # compared without case
        if header == "Connection":
            assert got == "close", (name, header)
        else:
            assert named(got) == named(value), (name, header)
    assert ("Content-Type" in answer.headers) == ("Content-Type" in recorded["headers"]), name
    for header in recorded["has"]:
        assert header in answer.headers or header == "Transfer-Encoding", (name, header)
    if "json" in recorded:
        assert text_of(plain(answer.json())) == text_of(plain(recorded["json"])), name
    if "text" in recorded:
        assert answer.text == recorded["text"], name
