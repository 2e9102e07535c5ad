"""Each recorded exchange of two real servers is replayed; the answers must have the recording's shape."""

import base64
import json
import re
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from rxpipe.testing.servers.webui import WebUIServer

RECORDINGS = Path(__file__).parents[1] / "data" / "webui"
MATTER = ("content-type", "allow", "www-authenticate", "retry-after")
WITH_AUTH = ("86", "87", "88", "89", "90", "91")
IN_A_JOB = ("60", "61", "62", "65", "66", "68", "69")  # need a job beside them


def recordings():
    for path in sorted(RECORDINGS.glob("*/*.json")):
        if not path.name.startswith(IN_A_JOB):
            yield pytest.param(path.parent.name, path, id=f"{path.parent.name}-{path.stem}")


def shape(value):
    """Keys and types, recursively; of a list the set of its entries' shapes; whole floats are floats."""
    if isinstance(value, dict):
        return {key: shape(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(entry), sort_keys=True) for entry in value})
    return type(value).__name__


def prepare(server, name):
    """Bring the server into the state in which the exchange was recorded."""
    post = f"{server.url}/sdapi/v1/extra-single-image"
    if name.startswith("92"):
        picture = json.loads((RECORDINGS / "forge" / "08-upscale-unknown-upscaler.json").read_text())
        assert requests.post(post, json=picture["request"]["json"], timeout=10).status_code == 500
    if name.startswith("51"):
        requests.post(f"{server.url}/sdapi/v1/interrupt", timeout=10)
        requests.post(f"{server.url}/sdapi/v1/skip", timeout=10)


def replay(server, request):
    body = request["body_text"].encode() if "body_text" in request else None
    given = request.get("json")
    if body is None and given is not None:
        body = json.dumps(given).encode()
    headers = {"accept-encoding": "identity", **request["headers"]}
    return requests.request(request["method"], server.url + request["path"], data=body, headers=headers, timeout=10)


@pytest.mark.parametrize(("flavour", "path"), list(recordings()))
def test_the_answer_to_a_recorded_request_has_the_recorded_shape(flavour, path):
    """Status, the headers that matter, and every key and type of the JSON are those of the real server."""
    exchange = json.loads(path.read_text())
    recorded = exchange["response"]
    auth = ("user", "pass") if path.name.startswith(WITH_AUTH) else None
    served = "amd" if flavour == "a1111" else flavour  # what was recorded as A1111 is that fork
    with WebUIServer(served, nowebui=True, auth=auth) as server:
        prepare(server, path.name)
        answer = replay(server, exchange["request"])

    assert answer.status_code == recorded["status"]
    assert {name: answer.headers.get(name) for name in MATTER} == {
        name: recorded["headers"].get(name) for name in MATTER
    }
    assert ("x-process-time" in answer.headers) == ("x-process-time" in recorded["headers"])
    gzipped = "gzip" in exchange["request"]["headers"].get("accept-encoding", "") and len(answer.content) >= 1000
    assert answer.headers.get("content-encoding") == ("gzip" if gzipped else None)
    assert answer.headers["server"] == "uvicorn"
    assert comparable(answer.json(), path.name) == comparable(recorded["json"], path.name)


@pytest.mark.parametrize("flavour", ["forge", "a1111"])
def test_what_was_recorded_beside_a_running_job_has_its_shape_too(flavour):
    """Progress before and after the first preview, the interrupt, the skip, and the answers they cut short."""
    with WebUIServer(flavour) as server, ThreadPoolExecutor(1) as pool:
        early, late = server.hold("txt2img", step=3), server.hold("txt2img", step=12)
        answer = pool.submit(replay, server, load(flavour, "66")["request"])
        assert early.wait_reached()
        check(server, flavour, "60")
        early.release()
        assert late.wait_reached()
        for number in ("61", *(["62"] if flavour == "forge" else []), "65"):
            check(server, flavour, number)
        assert comparable(answer.result().json(), "66") == comparable(load(flavour, "66")["response"]["json"], "66")
        late.release()
        check(server, flavour, "67")
        hold = server.hold("txt2img", step=2)
        answer = pool.submit(replay, server, load(flavour, "69")["request"])
        assert hold.wait_reached()
        check(server, flavour, "68")
        hold.release()
        assert comparable(answer.result().json(), "69") == comparable(load(flavour, "69")["response"]["json"], "69")


def load(flavour, number):
    return json.loads(next((RECORDINGS / flavour).glob(f"{number}-*.json")).read_text())


def check(server, flavour, number):
    recorded = load(flavour, number)
    answer = replay(server, recorded["request"])
    assert answer.status_code == recorded["response"]["status"]
    assert shape(answer.json()) == shape(recorded["response"]["json"])


def comparable(body, name):
    """What must be equal: the whole body of an error, the shape of everything else, infotexts but for numbers."""
    if isinstance(body, dict) and isinstance(body.get("info"), str) and "parameters" in body and "images" in body:
        info = json.loads(body["info"])
        texts = [re.sub(r"Model( hash)?: [^,]*", r"Model\1: x", text) for text in info["infotexts"]]
        fixed = {
            key: info[key] for key in ("all_prompts", "sampler_name", "width", "height", "steps", "denoising_strength")
        }
        if not name.startswith("54"):
            fixed |= {"all_seeds": info["all_seeds"], "texts": texts}
        fixed |= {"extra": info["extra_generation_params"], "first": info["index_of_first_image"], "order": list(info)}
        return shape({**body, "info": info}), list(body["parameters"]), fixed, sizes(body["images"])
    if isinstance(body, dict) and ("detail" in body or "error" in body) and not name.startswith("25"):
        return body
    if isinstance(body, dict) and "image" in body and "html_info" in body:
        return body["html_info"], sizes([body["image"]])
    return shape(body)


def sizes(pictures):
    """Width and height of base64 PNGs."""
    return [struct.unpack_from(">II", base64.b64decode(picture), 16) for picture in pictures]
