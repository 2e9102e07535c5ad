"""Each recorded exchange of three real ComfyUI servers is replayed; the answers must be the recorded ones."""

import base64
import io
import json
from contextlib import contextmanager
from copy import deepcopy

import pytest
import requests
from comfyui_recordings import UUID, assert_answers, data_of, exchange, plain, recordings, send, shape
from PIL import Image

from rxpipe.testing.servers.comfyui import MODELS, ComfyUIServer

FILES = (*(str(number) for number in range(130, 170)), "183")
IN_A_JOB = tuple(str(number) for number in (*range(100, 106), 108, 109, 110, *range(112, 122)))
ACCEPTED = ("80-", "81-", "82-", "85-", "124", *(f"17{number}-prompt" for number in range(4)))
ACCEPTED += ("78-prompt-client", "78-prompt-prompt_id-any")
FINISHED = ("82b", "85b", "9", "106", "107", "111", "122", "125", "17", "181", "182", "196", "78b")
PICTURES = ("80b", "96", "126", "180")
BY_SHAPE = ("191", "192", "193", "41")
POSTED_AS = {"82b": "82-", "85b": "85-", "125": "124", "78b": "78-prompt"}  # the server changed graph or id
BROKEN = {"models": {"checkpoints": [*MODELS["checkpoints"], "broken.safetensors"]}, "broken": ["broken.safetensors"]}
PREVIEWS = {
    "0.3.40": {"preview_method": "latent2rgb"},
    "0.3.64": {"preview_method": "latent2rgb", "preview_size": 64},
    "0.33.0": {"preview_size": 64},
}
"""The flags with which the recorded servers were started."""


def kind_of(name):
    """How an exchange is replayed."""
    number = name.split("-")[0]
    if number in IN_A_JOB:
        return "in a job"
    if number in FILES:
        return "files"
    if name.startswith(PICTURES):
        return "picture"
    if name.startswith(ACCEPTED):
        return "accepted"
    if name.startswith(FINISHED) and ("history" in name or "jobs" in name):
        return "finished"
    if "cors" in name:
        return "cors"
    return "shape" if name.startswith(BY_SHAPE) else "plain"


def of_kind(kind):
    """The exchanges that are replayed in one way, as parameters."""
    return [
        pytest.param(version, name, id=f"{version}-{name}")
        for version, name in recordings("exchange")
        if kind_of(name) == kind
    ]


def test_every_exchange_is_replayed_in_one_way():
    """None is left out by the table above."""
    kinds = {kind_of(name) for _, name in recordings("exchange")}

    assert kinds == {"plain", "files", "in a job", "accepted", "finished", "picture", "cors", "shape"}
    assert len(recordings("exchange")) == 231


@contextmanager
def server_of(version, **options):
    """A server as the recorded one was started."""
    with ComfyUIServer(version, draw="noise", **PREVIEWS[version], **options) as server:
        yield server


@pytest.fixture(scope="module")
def idle():
    """One idle server of each version, for what changes nothing."""
    servers = {version: ComfyUIServer(version, draw="noise", **flags).start() for version, flags in PREVIEWS.items()}
    servers["0.33.0"].files.write("input", "rxpipe", "init.png", b"")
    yield servers
    for server in servers.values():
        server.stop()


@pytest.mark.parametrize(("version", "name"), of_kind("plain"))
@pytest.mark.sampled(60)
def test_an_idle_server_answers_as_recorded(idle, version, name):
    """Lists, refusals of each kind, validation of each kind: to the word."""
    recorded = recordings("exchange")[version, name]

    answer = send(idle[version], recorded["request"])

    if name.startswith("02"):  # the recorded servers had more nodes, this one has more than were kept
        kept = recorded["response"]["json"]
        assert plain({key: value for key, value in answer.json().items() if key in kept}) == plain(kept)
    else:
        assert_answers(answer, recorded["response"], name)


@pytest.mark.parametrize(("version", "name"), of_kind("cors"))
def test_a_server_with_a_cors_header_answers_as_recorded(version, name):
    """Any origin may ask, and is answered so."""
    recorded = recordings("exchange")[version, name]
    with server_of(version, cors="*") as server:
        assert_answers(send(server, recorded["request"]), recorded["response"], name)


def test_files_go_in_and_out_as_recorded():
    """Uploads under one name, over another, elsewhere; downloads whole, re-encoded, known already, refused."""
    with server_of("0.33.0", max_upload_size=2**20) as server:
        server.files.write("output", "", "rx_00001_.png", png((64, 64)))
        for version, name in ((one.values[0], one.values[1]) for one in of_kind("files")):
            recorded = deepcopy(recordings("exchange")[version, name])
            for file in recorded["request"].get("multipart", {}).get("files", {}).values():
                file["size"] = round(file["size"] / 100)  # the limit is a hundredth of the recorded one
            text = recorded["response"].get("text")
            recorded["response"] |= {} if text is None else {"text": text.replace("104857600", str(2**20))}
            answer = send(server, recorded["request"])
            assert_answers(answer, recorded["response"], name)
            if "b64" in recorded["response"] and "channel" not in name:
                assert answer.content == base64.b64decode(recorded["response"]["b64"]), name
            elif "head" in recorded["response"]:
                assert answer.content[:4].hex() == recorded["response"]["head"], name


def png(size):
    """A plain picture."""
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, "PNG")
    return buffer.getvalue()


# -- jobs -------------------------------------------------------------------------------------------------------------


def with_files(server):
    """Upload what the recorded graphs load."""
    picture = data_of(exchange("0.33.0", "130")["request"]["multipart"]["files"]["image"])
    for kind, folder, name in (
        ("input", "rxpipe/run1", "pic.png"),
        ("temp", "rxpipe", "pic.png"),
        ("output", "", "rx_00001_.png"),
        ("input", "rxpipe", "init.png"),
    ):
        server.files.write(kind, folder, name, picture)
    server.files.write("input", "", "note.txt", b"hello")


@pytest.mark.parametrize(("version", "name"), of_kind("accepted"))
def test_a_graph_is_accepted_as_recorded(version, name):
    """Whatever was not multiple of 8, unknown, invalid in one branch, or of another type."""
    recorded = recordings("exchange")[version, name]
    with server_of(version) as server:
        with_files(server)
        answer = send(server, recorded["request"])
        assert_answers(answer, recorded["response"], name)
        given = recorded["request"]["json"].get("prompt_id")
        kept = recorded["response"]["json"]["prompt_id"] == given
        assert (answer.json()["prompt_id"] == given) == (kept and given is not None)


@pytest.mark.parametrize(("version", "name"), of_kind("finished"))
@pytest.mark.sampled(17)
def test_a_finished_job_is_shown_as_recorded(version, name):
    """Success, cached, changed in one node, failed in each way, interrupted: in /history and in /api/jobs."""
    recorded = recordings("exchange")[version, name]
    shown = (
        next(iter(recorded["response"]["json"].values()), None) if "history" in name else recorded["response"]["json"]
    )
    prompt = shown["prompt"] if "prompt" in shown else [0, "", *shown["workflow"].values()]
    status = shown.get("status") if "history" in name else shown["execution_status"]
    with server_of(version, **BROKEN) as server:
        with_files(server)
        prompt_id = run(server, name, version, prompt, status["messages"])
        path = f"/history/{prompt_id}" if "history" in name else f"/api/jobs/{prompt_id}"
        answer = requests.get(server.url + path, timeout=10)
        if version == "0.3.64" and "any-string" in name:
            assert prompt_id == "my-job-1"
        assert_answers(answer, recorded["response"], name)


def run(server, name, version, prompt, messages):
    """Bring a recorded job to its recorded end and return its id."""
    graph, extra = prompt[2], prompt[3]
    cached = next(data["nodes"] for event, data in messages if event == "execution_cached")
    posted = next((start for mine, start in POSTED_AS.items() if name.startswith(mine)), None)
    body = exchange(version, posted)["request"]["json"] if posted else body_of(prompt)
    if cached:
        whole = set(cached) == set(graph)
        before = graph if whole else changed_but(graph, cached)
        requests.post(f"{server.url}/prompt", json={"prompt": before, "client_id": "before"}, timeout=10)
        assert server.wait_idle()
    event, end = messages[-1]
    stops = event == "execution_interrupted"
    hold = None
    if stops:
        hold = server.hold("*", 1) if end["node_type"] == "KSampler" else server.hold_node(end["node_type"])
    answer = requests.post(f"{server.url}/prompt", json=body, timeout=10)
    assert answer.status_code == 200, answer.text
    if hold is not None:
        assert hold.wait_reached()
        requests.post(f"{server.url}/interrupt", timeout=10)
    assert server.wait_idle()
    assert ("client_id" in extra) == ("client_id" in body)
    return answer.json()["prompt_id"]


def body_of(prompt):
    """What was posted for a job of the history."""
    _, _, graph, extra, outputs = [*prompt, None][:5]
    body = {"prompt": graph, "extra_data": {k: v for k, v in extra.items() if k not in ("client_id", "create_time")}}
    if "client_id" in extra:
        body["client_id"] = extra["client_id"]
    if outputs == ["8"]:
        body["partial_execution_targets"] = outputs
    return body


def changed_but(graph, kept):
    """The graph with something else in every node that is not to be cached."""
    changed = deepcopy(graph)
    for node_id, node in changed.items():
        if node_id in kept:
            continue
        for key, value in node["inputs"].items():
            if key in ("seed", "noise_seed"):
                node["inputs"][key] = value + 1
            elif key in ("text", "filename_prefix"):
                node["inputs"][key] = value + "x"
            elif key == "model_name" and value.endswith(".onnx"):
                node["inputs"][key] = "one-face.onnx"
            elif key in ("width", "height") and isinstance(value, int):
                node["inputs"][key] = value + 64
    return changed


@pytest.mark.parametrize("version", ["0.3.40", "0.3.64", "0.33.0"])
def test_what_was_recorded_beside_a_running_job_is_answered_so(version):
    """The queue, the job and its absence from the history; the interrupts that miss and those that hit."""
    with server_of(version) as server:
        hold = server.hold("*", 2)
        first = beside(server, version, 7)
        assert hold.wait_reached()
        for start in ("100", "101", "102", "103", "104"):
            check(server, version, start, first)
        if version == "0.3.40":  # which knows no ids in an interrupt: a stranger's hits
            assert server.wait_idle()
            return
        assert server.request_log.running is not None
        check(server, version, "105", first)
        assert server.wait_idle()
        if version == "0.3.64":
            return
        for start in ("108", "109"):
            running = beside(server, version, 8)
            assert hold.wait_reached(times=server.request_log.jobs[-1].number)
            check(server, version, start, running)
            assert server.wait_idle()
        check(server, version, "110", running)
    assert [job.outcome for job in server.jobs] == ["interrupted"] * 3


def test_what_was_recorded_of_waiting_jobs_is_answered_so():
    """Two in the queue, one deleted, all cleared, cancelled one by one and together; the heap's order; one id twice."""
    version = "0.33.0"
    with server_of(version) as server:
        hold = server.hold("*", 1)
        interrupted = beside(server, version, 1)
        assert hold.wait_reached()
        requests.post(f"{server.url}/interrupt", timeout=10)
        assert server.wait_idle()
        running, waiting = beside(server, version, 2), beside(server, version, 3)
        assert hold.wait_reached(times=2)
        check(server, version, "112")
        jobs = check(server, version, "113", compare=False).json()
        assert [(job["id"], job["status"]) for job in jobs["jobs"]] == [
            (waiting, "pending"), (running, "in_progress"), (interrupted, "cancelled"),
        ]  # fmt: skip
        check(server, version, "114", waiting)
        check(server, version, "115", running)
        check(server, version, "116", waiting)
        waiting = beside(server, version, 3)
        check(server, version, "117")
        assert server.site.waiting_jobs == 0
        waiting = beside(server, version, 3)
        check(server, version, "118", waiting)
        check(server, version, "119", running, waiting)
        assert server.wait_idle()
        beside(server, version, 4)
        assert hold.wait_reached(times=3)
        for options in ({}, {"front": True}, {"number": -1000.5}, {"number": 0}):
            beside(server, version, 5, **options)
        queue = check(server, version, "120", compare=False).json()
        recorded = exchange(version, "120")["response"]["json"]
        offset = queue["queue_running"][0][0] - recorded["queue_running"][0][0]
        assert [item[0] for item in queue["queue_pending"]] == [
            number + offset * sign for (number, *_), sign in zip(recorded["queue_pending"], (0, 0, -1, 1), strict=True)
        ]
        requests.post(f"{server.url}/queue", json={"clear": True}, timeout=10)
        twice = requests.get(f"{server.url}/queue", timeout=10).json()["queue_running"][0][1]
        beside(server, version, 5, prompt_id=twice)
        queue = check(server, version, "121", compare=False).json()
        assert [item[1] for name in ("queue_running", "queue_pending") for item in queue[name]] == [twice, twice]


def beside(server, version, seed, **options):
    """Post the recorded graph with another seed, and return its id."""
    shown = exchange(version, "106")["response"]["json"]
    graph = deepcopy(next(iter(shown.values()))["prompt"][2])
    graph["5"]["inputs"]["seed"] = seed
    body = {"prompt": graph, "client_id": "me", **options}
    return requests.post(f"{server.url}/prompt", json=body, timeout=10).json()["prompt_id"]


def check(server, version, start, *ids, compare=True):
    """Replay an exchange, if this version has it, with the ids of our jobs for the recorded ones."""
    try:
        recorded = exchange(version, start + "-")
    except StopIteration:
        return None
    request = json.loads(json.dumps(recorded["request"]))
    if "other" not in recorded["name"]:
        text = json.dumps(request)
        for recorded_id, own in zip(dict.fromkeys(UUID.findall(text)), ids, strict=False):
            text = text.replace(recorded_id, own)
        request = json.loads(text)
    answer = send(server, request)
    if compare:
        expected = deepcopy(recorded["response"])
        if start in ("100", "112"):
            assert plain(seeded(answer.json())) == plain(seeded(expected["json"])), start
        else:
            assert_answers(answer, expected, recorded["name"])
    assert answer.status_code == recorded["response"]["status"]
    return answer


def seeded(queue):
    """The queue without what of a graph was another one in the recording: seed, steps and size."""
    for item in (*queue["queue_running"], *queue["queue_pending"]):
        item[2] = {node_id: (node["class_type"], sorted(node["inputs"])) for node_id, node in item[2].items()}
        item[0], item[3]["client_id"] = 0, "me"
    return queue


@pytest.mark.parametrize(("version", "name"), of_kind("picture"))
def test_a_picture_has_the_recorded_size_and_texts(version, name):
    """The file of a job: width 70 is 64, `prompt` holds the graph, `extra_pnginfo` each of its keys as JSON."""
    recorded = recordings("exchange")[version, name]["response"]
    graph = json.loads(recorded["chunks"]["prompt"])
    extra = {key: json.loads(text) for key, text in recorded["chunks"].items() if key != "prompt"}
    with server_of(version) as server:
        body = {"prompt": graph, "client_id": "me", "extra_data": {"extra_pnginfo": extra} if extra else {}}
        prompt_id = requests.post(f"{server.url}/prompt", json=body, timeout=10).json()["prompt_id"]
        assert server.wait_idle()
        history = requests.get(f"{server.url}/history/{prompt_id}", timeout=10).json()
        image = history[prompt_id]["outputs"]["7"]["images"][0]
        answer = requests.get(f"{server.url}/view", params=image, timeout=10)
    picture = Image.open(io.BytesIO(answer.content))

    assert_answers(answer, recorded, name)
    assert list(picture.size) == recorded["size"]
    assert picture.text == recorded["chunks"]


@pytest.mark.parametrize(("version", "name"), of_kind("shape"))
def test_a_list_of_jobs_has_the_recorded_shape(version, name):
    """The last two of a history, a page of jobs."""
    recorded = recordings("exchange")[version, name]
    graph = exchange(version, "90")["response"]["json"]
    graph = next(iter(graph.values()))["prompt"][2]
    detailed = recordings("graph")[None, "adetailer-impact-with-found-mask"]["graph"]
    with server_of(version) as server:
        with_files(server)
        for seed in range(2):
            graph["5"]["inputs"]["seed"] = seed
            last = {"7": {**graph["7"], "class_type": "SaveImageWebsocket"}} if seed else {}
            requests.post(f"{server.url}/prompt", json={"prompt": {**graph, **last}, "client_id": "me"}, timeout=10)
        for seed in range(0 if name.startswith("192") else 2):
            detailed["detail"]["inputs"]["seed"] = seed
            requests.post(f"{server.url}/prompt", json={"prompt": detailed, "client_id": "me"}, timeout=10)
        assert server.wait_idle()
        answer = send(server, recorded["request"])

    got, expected = answer.json(), recorded["response"]["json"]
    assert answer.status_code == 200
    if name.startswith("19") and "history" in name:
        for entry in (*got.values(), *expected.values()):
            entry["prompt"] = "(cut here)"
        assert [plain(entry["outputs"]) for entry in got.values()] == [
            plain(entry["outputs"]) for entry in expected.values()
        ]
    assert shape(got) == shape(expected)
