"""The ComfyUI test server as its users drive it: jobs, pictures, faults, strangers, versions."""

import base64
import io
import json
from contextlib import suppress
from copy import deepcopy

import pytest
import requests
from comfyui_client import Client, read
from comfyui_recordings import recordings
from PIL import Image, ImageChops
from test_comfyui_server_contract import png
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from rxpipe.testing.servers.comfyui import ComfyUIServer, Fault, FileStore, small_graph
from rxpipe.testing.servers.core.clock import ManualClock


@pytest.fixture
def server():
    """The newest recorded release, drawing noise."""
    with ComfyUIServer(draw="noise") as started:
        yield started


def post(server, graph=None, **body):
    """The answer to a posted graph."""
    return requests.post(f"{server.url}/prompt", json={"prompt": graph or small_graph(), **body}, timeout=10)


def run(server, graph=None, **body):
    """Post a graph, wait until nothing runs, and return its entry in the history, None without one."""
    prompt_id = post(server, graph, **body).json()["prompt_id"]
    assert server.wait_idle()
    return history(server, prompt_id)


def history(server, prompt_id):
    """The history of a job, None without one."""
    return requests.get(f"{server.url}/history/{prompt_id}", timeout=10).json().get(prompt_id)


def images(entry):
    """What a finished job saved."""
    return [image for ui in entry["outputs"].values() for image in ui["images"]]


def view(server, image):
    """The answer to a request for a file."""
    return requests.get(f"{server.url}/view", params=image, timeout=10)


def picture(server, graph):
    """The first picture of a graph."""
    answer = view(server, images(run(server, graph))[0])
    shown = Image.open(io.BytesIO(answer.content))
    shown.load()
    return shown.convert("RGB")


@pytest.mark.parametrize("comfyui_server", ["0.3.40", "0.3.64", {"version": "0.33.0"}], indirect=True)
def test_a_job_is_posted_watched_and_fetched(comfyui_server):
    """The whole way of a picture over each recorded release, with the fixture that comes with the package."""
    with Client(comfyui_server) as client:
        entry = run(comfyui_server, client_id="me")
        events = client.until_done()

    assert events[:4] == ["status", "status", "status", "execution_start"]
    assert view(comfyui_server, images(entry)[0]).content.startswith(b"\x89PNG")
    assert [job.outcome for job in comfyui_server.jobs] == ["done"]


# -- pictures ---------------------------------------------------------------------------------------------------------


def graph_of(name, **changes):
    """A recorded graph with other inputs: `sample__seed=3`."""
    graph = deepcopy(recordings("graph")[None, name]["graph"])
    for place, value in changes.items():
        node_id, _, name = place.rpartition("__")
        graph[node_id]["inputs"][name] = value
    return graph


def with_source(server, size=(64, 64)):
    """Upload a picture and masks for the recorded graphs."""
    source = Image.linear_gradient("L").resize(size).convert("RGB")
    mask = Image.new("L", size)
    mask.paste(255, (16, 16, 40, 40))
    for name, drawn in (("init", source), ("mask", mask), ("facemask", mask)):
        buffer = io.BytesIO()
        drawn.save(buffer, "PNG")
        server.files.write("input", "rxpipe", f"{name}.png", buffer.getvalue())
    return source


def changed(first, second):
    """The box in which two pictures differ, None where they are equal."""
    return ImageChops.difference(first, second).getbbox()


def test_a_seed_is_a_picture_and_another_one_is_another(server):
    """Also after everything was unloaded; a batch begins with the single picture and goes on with none of seed + 1."""
    first = picture(server, small_graph(7))
    requests.post(f"{server.url}/free", json={"unload_models": True, "free_memory": True}, timeout=10)
    again, other = picture(server, small_graph(7)), picture(server, small_graph(8))
    batch = small_graph(7)
    batch["latent"]["inputs"]["batch_size"] = 2
    one, two = (Image.open(io.BytesIO(view(server, image).content)) for image in images(run(server, batch)))

    assert changed(first, again) is None
    assert changed(first, other) is not None
    assert changed(first, one.convert("RGB")) is None
    assert changed(first, two.convert("RGB")) is not None
    assert changed(other, two.convert("RGB")) is not None


def test_what_changes_nothing_changes_nothing_and_the_rest_shows(server):
    """A LoRA of strength 0, the last layer and the checkpoint's own VAE; then a LoRA of 0.8 and layer -2."""
    plain = picture(server, graph_of("txt2img"))
    neutral = {"lora__strength_model": 0.0, "lora__strength_clip": 0.0, "skip__stop_at_clip_layer": -1}

    assert changed(plain, picture(server, graph_of("txt2img-lora-clipskip-vae", **neutral))) is None
    assert changed(plain, picture(server, graph_of("txt2img-lora-clipskip-vae"))) is not None


def test_a_mask_keeps_what_is_outside_only_with_a_paste_back(server):
    """The VAE alone changes every pixel a little."""
    source = with_source(server)
    masked = picture(server, graph_of("img2img-mask"))
    without = picture(server, graph_of("img2img-mask", out__images=["decode", 0]))
    left, top, right, bottom = changed(source, masked)

    assert min(left, top) >= 16 - 8
    assert max(right, bottom) <= 40 + 8
    assert changed(source.crop((56, 0, 64, 64)), without.crop((56, 0, 64, 64))) is not None


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("upscale-plain-factor", (96, 96)),
        ("upscale-plain-exact", (145, 145)),
        ("upscale-model", (256, 256)),
        ("upscale-model-exact-2.5", (240, 240)),
        ("txt2img-hires-latent", (96, 128)),
        ("txt2img-hires-model", (96, 96)),
        ("txt2img-full", (96, 96)),
        ("txt2img-refiner-switch-0.8", (64, 64)),
        ("txt2img-align-your-steps", (64, 64)),
        ("img2img-a1111-steps", (64, 64)),
        ("adetailer-core-given-box", (64, 64)),
        ("user-export-example", (64, 64)),
    ],
)
def test_every_recorded_graph_gives_its_size(server, name, size):
    """Latents in whole cells, factors rounded, exact sizes exact."""
    with_source(server)

    assert picture(server, graph_of(name)).size == size


def test_a_detailer_draws_where_a_face_is_and_nowhere_else():
    """As many as the detector finds, each with its own steps; without one the picture is as it was."""
    with ComfyUIServer(draw="noise", faces=lambda _picture: [(16, 16, 40, 40)]) as server:
        source = with_source(server, (96, 96))
        found = picture(server, graph_of("adetailer-impact-ultralytics"))
        none = picture(server, graph_of("adetailer-impact-onnx-no-face"))
        entry = run(server, graph_of("adetailer-impact-with-found-mask"))
        mask = Image.open(io.BytesIO(view(server, entry["outputs"]["found"]["images"][0]).content)).convert("L")

    left, top, right, bottom = changed(source, found)
    assert max(right, bottom) <= 64
    assert min(left, top) >= 0
    assert changed(source, none) is None
    assert mask.getbbox() == (16, 16, 40, 40)


@pytest.mark.slow
def test_the_embedded_backend_draws_every_recorded_graph():
    """Pictures that are worth looking at: each stage with the drawing that people see."""
    with ComfyUIServer() as server:
        with_source(server, (64, 64))
        for (_, name), recorded in recordings("graph").items():
            shown = picture(server, recorded["graph"])
            assert len(set(shown.resize((16, 16)).tobytes())) >= 16, name


SOURCES = {
    "MODEL": ("CheckpointLoaderSimple", 0),
    "CLIP": ("CheckpointLoaderSimple", 1),
    "VAE": ("CheckpointLoaderSimple", 2),
    "IMAGE": ("EmptyImage", 0),
    "MASK": ("SolidMask", 0),
    "LATENT": ("EmptyLatentImage", 0),
    "CONDITIONING": ("CLIPTextEncode", 0),
    "UPSCALE_MODEL": ("UpscaleModelLoader", 0),
    "CONTROL_NET": ("ControlNetLoader", 0),
    "NOISE": ("RandomNoise", 0),
    "GUIDER": ("BasicGuider", 0),
    "SAMPLER": ("KSamplerSelect", 0),
    "SIGMAS": ("KarrasScheduler", 0),
    "BBOX_DETECTOR": ("UltralyticsDetectorProvider", 0),
    "*": ("EmptyImage", 0),
    "COMFY_MATCHTYPE_V3": ("EmptyImage", 0),
}
LITERALS = {"INT": 8, "FLOAT": 1.0, "STRING": "pic.png", "BOOLEAN": True}
WITHOUT_MODELS = ("LoadMediaPipeFaceLandmarker", "MediaPipeFaceLandmarker", "MediaPipeFaceMask", "SAMLoader", "RecFail")
LISTED = {"detection": ["x.task"], "controlnet": ["c"], "text_encoders": ["t"], "diffusion_models": ["d"]}


def wired(catalog, name, graph):
    """Add a node of a class to a graph, each input linked to something of its type; return its id."""
    if name not in graph:
        graph[name] = {"class_type": name, "inputs": {}}
        info = catalog.info(name)
        graph[name]["inputs"] = {
            key: value_of(catalog, key, spec, graph) for key, spec in info["input"].get("required", {}).items()
        }
    return name


def value_of(catalog, key, spec, graph):
    """Something that an input takes."""
    kind, options = spec[0], (spec[1] if len(spec) > 1 else {})
    listed = kind if isinstance(kind, list) else options.get("options")
    if key == "image" and not isinstance(kind, str):
        return "rxpipe/init.png"
    if listed:
        return listed[0]
    if kind in SOURCES:
        source, slot = SOURCES[kind]
        return [wired(catalog, source, graph), slot]
    if kind == "COMBO" and key == "image":
        return "init.png [output]"
    size = 64 if key in ("width", "height") else options.get("default", LITERALS.get(kind, "init.png"))
    return base64.b64encode(png((8, 8))).decode() if key == "image" and kind == "STRING" else size


@pytest.mark.slow
@pytest.mark.parametrize("version", ["0.3.40", "0.33.0"])
def test_every_class_that_is_listed_runs(version):
    """With the first of each list and the default of each number; those whose model is not there say so."""
    failed = []
    with ComfyUIServer(version, draw="noise", models=LISTED, faces=lambda _picture: [(8, 8, 40, 40)]) as server:
        with_source(server)
        server.files.write("output", "", "init.png", png((64, 64)))
        for name in server.site.catalog.names():
            graph, info = {}, server.site.catalog.info(name)
            wired(server.site.catalog, name, graph)
            if not info["output_node"]:
                graph["end"] = {"class_type": "PreviewAny", "inputs": {"source": [name, 0]}}
            answer = post(server, graph)
            assert answer.status_code == 200, (name, answer.text)
            assert server.wait_idle()
            last, details = history(server, answer.json()["prompt_id"])["status"]["messages"][-1]
            failed += [(name, details.get("exception_type"))] if last != "execution_success" else []

    assert [name for name, _ in failed if name not in WITHOUT_MODELS] == []
    assert {name for name, _ in failed} >= {"RecFail", "LoadMediaPipeFaceLandmarker"} & set(server.site.catalog.names())


def test_an_output_runs_as_soon_as_it_can_and_what_it_waits_for_before_the_rest(server):
    """A preview of the first pass comes before the second pass begins."""
    graph = graph_of("txt2img-hires-latent")
    graph["early"] = {"class_type": "VAEDecode", "inputs": {"samples": ["sample", 0], "vae": ["ckpt", 2]}}
    graph["preview"] = {"class_type": "PreviewImage", "inputs": {"images": ["early", 0]}}
    with Client(server) as client:
        run(server, graph, client_id="me")
        client.until_done()
        begun = [data["node"] for data in client.data("executing") if data["node"]]

    assert begun.index("sample") + 1 == begun.index("early") == begun.index("preview") - 1
    assert begun[-4:] == ["hr_latent", "hr_sample", "decode", "out"]


# -- faults -----------------------------------------------------------------------------------------------------------


def test_a_job_meets_the_fault_of_its_post_and_the_next_one_is_well(server):
    """Out of memory in the sampler: an error with type and tips, then success."""
    server.fault("prompt", Fault.OUT_OF_MEMORY)
    entry = run(server)
    name, details = entry["status"]["messages"][-1]

    assert (name, details["exception_type"]) == ("execution_error", "torch.OutOfMemoryError")
    assert details["exception_message"].endswith("set the batch_size to a large number.")
    assert details["node_type"] == "KSampler"
    assert run(server)["status"]["status_str"] == "success"
    assert [job.outcome for job in server.jobs] == ["failed", "done"]


def test_the_models_are_loaded_again_after_the_memory_was_full():
    """Which takes its time in the sampler, without a word; another checkpoint takes it in its loader."""
    clock = ManualClock()
    with ComfyUIServer(draw="noise", clock=clock, load_s=10) as server:
        server.fault("prompt", Fault.OUT_OF_MEMORY)
        first, again, other = (small_graph(seed) for seed in (1, 2, 3))
        other["ckpt"]["inputs"]["ckpt_name"] = "tiny-b.safetensors"
        for graph in (first, again, other):
            post(server, graph)
            assert server.wait_running()
            begun = clock.now()
            assert not server.wait_idle(0.02)
            clock.advance(10)
            assert server.wait_idle()
            assert clock.now() - begun == 10
    assert server.switches == ("tiny-b.safetensors",)


def test_the_folders_hold_so_much_and_no_more():
    """The oldest saved picture goes; what was uploaded stays."""
    files = FileStore(keep_bytes=100)
    files.write("input", "", "large.png", bytes(1000))
    for number in range(5):
        files.write("temp", "", f"{number}.png", bytes(40))
    files.write("temp", "", "4.png", bytes(30))

    assert (files.paths("input"), files.paths("temp")) == (["large.png"], ["3.png", "4.png"])


def test_a_fault_may_name_the_stage_and_the_call(server):
    """The second txt2img fails; an upscale between them is not counted."""
    with_source(server)
    server.fault("txt2img", Fault.GENERIC, on_call=2)
    statuses = [run(server, graph)["status"]["status_str"] for graph in (None, graph_of("upscale-plain-exact"), None)]

    assert statuses == ["success", "success", "error"]
    assert [call.stage for call in server.calls_to("prompt")] == ["txt2img", "upscale", "txt2img"]


def test_a_black_picture_is_a_success(server):
    """As after a NaN."""
    server.fault("prompt", Fault.BLACK)

    assert picture(server, None).getextrema() == ((0, 0),) * 3


@pytest.mark.parametrize(
    "fault", [Fault.SILENT, Fault.DEAF, Fault.SOCKET_LOST, Fault.SOCKET_CLOSED], ids=lambda fault: fault.name
)
def test_a_socket_that_fails_leaves_the_job_alone(server, fault):
    """The job succeeds in the history; its end never comes over the socket."""
    server.fault("prompt", fault)
    with Client(server) as client:
        assert run(server, client_id="me")["status"]["status_str"] == "success"
        assert server.wait_for(lambda: server.site.sockets.sent)
        events = client.events
        assert "execution_success" not in events
        if fault is Fault.SILENT:
            assert {*events} <= {"status"}
            run(server, client_id="me")
            assert "execution_success" in client.until_done()
        elif fault is Fault.DEAF:
            run(server, client_id="me")
            assert server.wait_for(lambda: server.site.sockets.sent)
            assert client.events == events
        else:
            client.close()
            assert client.code == (1001 if fault is Fault.SOCKET_CLOSED else 1006)


def test_a_mute_handshake_sends_nothing_at_all(server):
    """As behind a proxy that keeps the messages."""
    server.fault("ws", Fault.MUTE)
    client = Client(server)
    entry = run(server, client_id="me")
    assert server.wait_for(lambda: server.site.sockets.sent)
    client.abort()

    assert entry["status"]["status_str"] == "success"
    assert client.received == []


def test_a_job_may_be_gone_when_its_turn_comes(server):
    """In neither queue nor history, and nobody is told."""
    server.fault("prompt", Fault.DELETED)

    assert run(server) is None
    assert [job.outcome for job in server.jobs] == ["lost"]
    assert requests.get(f"{server.url}/api/jobs/{server.prompt_ids[0]}", timeout=10).status_code == 404


def test_somebody_else_interrupts(server):
    """Half of the steps are done."""
    server.fault("prompt", Fault.INTERRUPTED)
    entry = run(server)

    assert entry["status"]["messages"][-1][0] == "execution_interrupted"
    assert server.jobs[0].outcome == "interrupted"


def test_outputs_may_be_missing_in_the_history_and_files_on_the_disk(server):
    """A success that leads nowhere, in two ways."""
    server.faults("prompt", [Fault.NO_OUTPUTS, Fault.FILES_GONE])

    assert run(server)["outputs"] == {}
    assert view(server, images(run(server))[0]).status_code == 404


def test_a_history_may_come_late():
    """The end was sent long before."""
    clock = ManualClock()
    with ComfyUIServer(draw="noise", clock=clock) as server:
        server.fault("prompt", Fault.LATE_HISTORY)
        assert run(server) is None
        clock.advance(0.5)
        assert history(server, server.prompt_ids[0])["status"]["completed"]


def test_an_answer_may_be_lost_or_late_while_the_job_runs(server):
    """What an idempotent client must cope with."""
    server.faults("prompt", [Fault.ANSWER_LOST, Fault.ANSWER_LATE.but(seconds=0.05)])
    with pytest.raises(requests.ConnectionError):
        post(server)
    assert server.wait_idle()
    assert post(server).status_code == 200
    assert server.wait_idle()
    assert [job.outcome for job in server.jobs] == ["done", "done"]


def test_a_200_may_name_nodes(server):
    """And the job runs nevertheless."""
    server.fault("prompt", Fault.NODE_ERRORS)
    answer = post(server).json()

    assert answer["node_errors"]["sample"]["errors"][0]["type"] == "value_not_in_list"


@pytest.mark.parametrize("fault", [Fault.NOT_AN_IMAGE, Fault.CUT_PNG, Fault.FLIPPED_BYTE], ids=lambda fault: fault.name)
def test_a_download_may_be_spoilt(server, fault):
    """What arrives is not what was saved; the next download is well."""
    image = images(run(server))[0]
    server.fault("view", fault)

    assert view(server, image).content != view(server, image).content


def test_a_stuck_job_waits_for_a_word(server):
    """Or for an interrupt."""
    server.fault("prompt", Fault.STUCK, times=2)
    first = post(server).json()["prompt_id"]
    requests.post(f"{server.url}/interrupt", json={"prompt_id": first}, timeout=10)
    second = post(server).json()["prompt_id"]
    assert server.wait_for(lambda: server.request_log.running is not None and server.jobs[-1].outcome == "running")
    server.unstick()
    assert server.wait_idle()
    assert history(server, second)["status"]["completed"]


def test_a_server_that_dies_forgets_its_jobs_and_keeps_its_files(server):
    """It comes back on its port with an empty queue, an empty history and an empty `temp`."""
    run(server)
    kept = requests.post(f"{server.url}/upload/image", files={"image": ("a.png", png((8, 8)))}, timeout=10).json()
    server.fault("prompt", Fault.DIES.but(back_after_s=None))
    with suppress(requests.ConnectionError):  # it may die before it answers
        post(server)
    assert server.wait_for(lambda: server.down)
    server.come_back()

    assert requests.get(f"{server.url}/history", timeout=10).json() == {}
    assert view(server, {"filename": kept["name"], "type": "input"}).status_code == 200
    assert server.files.paths("temp") == []
    assert run(server)["status"]["completed"]
    assert [job.outcome for job in server.jobs] == ["done", "lost", "done"]


def test_every_own_fault_is_tried_here():
    """A fault that is added gets a test."""
    source = __import__("pathlib").Path(__file__).read_text()
    inherited = {"FORBIDDEN", "UNAUTHORIZED", "SLOW"}  # an answer instead, and a number

    assert [fault.name for fault in Fault.every() if isinstance(fault, Fault) and f"Fault.{fault.name}" not in source
            and fault.name not in inherited] == []  # fmt: skip


def test_a_drawing_that_fails_is_an_error_of_its_node():
    """By the type and the text of its exception."""

    def draw(request):
        raise OverflowError(f"{request.width} px are too many")

    with ComfyUIServer(draw=draw) as server:
        details = run(server)["status"]["messages"][-1][1]

    assert (details["exception_type"], details["exception_message"]) == ("OverflowError", "64 px are too many\n")
    assert details["node_type"] == "KSampler"


WRONG = [None, 1, "x", [], {}, [1], {"a": None}, {"1": {}}, {"1": {"class_type": "KSampler"}}, {"1": {"class_type": 3}}]
WRONG += [{"1": {"class_type": "SaveImage", "inputs": {"images": link}}} for link in (["1", 0], [["1"], 0], [1, 0], 7)]


@pytest.mark.parametrize("version", ["0.3.40", "0.33.0"])
@pytest.mark.slow
def test_nonsense_is_answered_and_the_server_goes_on(version):
    """Graphs and bodies of every wrong shape: 400 or 500, never silence, and then a job as ever."""
    with ComfyUIServer(version, draw="noise") as server, requests.Session() as session:
        for wrong in WRONG:
            bodies = [wrong, {"prompt": wrong}, {"prompt": small_graph(), "number": wrong}, {"delete": wrong}]
            for path in ("/prompt", "/queue", "/history", "/interrupt", "/free", "/api/jobs/cancel", "/upload/image"):
                for body in bodies:
                    answer = session.post(server.url + path, json=body, timeout=10)
                    assert answer.status_code in (200, 400, 404, 405, 500), (path, body)
        assert server.wait_idle()
        assert run(server)["status"]["completed"]


# -- strangers --------------------------------------------------------------------------------------------------------


def test_a_stranger_sees_its_own_jobs_and_we_see_ours(server):
    """`status` alone goes to both."""
    stranger = server.stranger()
    with Client(server) as client:
        stranger.post()
        run(server, client_id="me")
        ours = client.until_done()
        assert server.wait_for(lambda: "execution_success" in stranger.events)

    assert ours.count("execution_success") == stranger.events.count("execution_success") == 1


def test_a_stranger_that_comes_later_learns_nothing_of_our_job(server):
    """Only `status`, with the length of the queue."""
    hold = server.hold("*", 1)
    with Client(server) as ours:
        post(server, client_id="me")
        assert hold.wait_reached()
        with Client(server, "?clientId=other") as other, Client(server, "?clientId=me") as again:
            again.wait(2)
            assert again.events == ["status", "executing"]
            other.wait(1)
            assert other.events == ["status"]
        ours.close()
        hold.release()
        assert server.wait_idle()


def test_a_stranger_without_a_client_id_is_heard_by_everybody(server):
    """Progress and pictures, with an id that is not ours."""
    stranger = server.stranger()
    with Client(server) as client:
        stranger.post(anonymous=True, extra_data={"preview_method": "latent2rgb"})
        assert server.wait_idle()
        client.wait_for_events({"progress", "progress_state", 1})
        events = client.events

    assert not {"execution_start", "executing", "execution_success"} & {*events}


def test_a_stranger_clears_deletes_and_interrupts(server):
    """Nobody tells the owner."""
    stranger = server.stranger()
    hold = server.hold("*", 1)
    with Client(server) as client:
        running, first, second = (post(server, client_id="me").json()["prompt_id"] for _ in range(3))
        assert hold.wait_reached()
        stranger.delete(first)
        stranger.clear_queue()
        stranger.interrupt()
        assert server.wait_idle()
        client.until_done()
        texts = [message for message in map(read, client.received) if "type" in message]
    ended = [message["data"]["prompt_id"] for message in texts if message["type"] == "execution_interrupted"]

    assert ended == [running]
    assert not any(name in json.dumps(texts) for name in (first, second))
    assert [history(server, name) for name in (first, second)] == [None, None]


def test_a_stranger_that_does_not_read_stops_everybodys_events(server):
    """The job itself goes on; with the stranger gone, the events come."""
    stranger = server.stranger(reads=False)
    with Client(server) as client:
        stranger.jam()
        entry = run(server, client_id="me")
        assert entry["status"]["completed"]
        assert "execution_start" not in client.events
        stranger.close()
        assert "execution_success" in client.until_done()


# -- the socket -------------------------------------------------------------------------------------------------------


def test_a_socket_answers_pings_and_packs_what_the_client_can_unpack(server):
    """permessage-deflate is accepted, a finished picture comes whole, however large."""
    graph = small_graph(size=512)
    graph["out"] = {"class_type": "SaveImageWebsocket", "inputs": {"images": ["decode", 0]}}
    with connect(f"ws://127.0.0.1:{server.port}/ws?clientId=me", max_size=2**24, proxy=None) as socket:
        assert "permessage-deflate" in socket.response.headers["Sec-WebSocket-Extensions"]
        assert socket.ping().wait(5)
        run(server, graph, client_id="me")
        messages = []
        while '"node": null' not in str(messages[-1:]):
            messages.append(socket.recv(5))
    pictures = [message for message in messages if isinstance(message, bytes)]

    assert [read(message) for message in pictures] == [{"event": 1, "picture": 2}]
    assert len(pictures[0]) > 500_000


def test_a_plain_request_for_the_socket_and_one_from_elsewhere_are_refused(server):
    """400 without an upgrade, 403 with another origin."""
    assert requests.get(f"{server.url}/ws", timeout=10).status_code == 400
    origin = {"origin": "http://example.org"}
    with (
        pytest.raises(InvalidStatus, match="403"),
        connect(f"ws://127.0.0.1:{server.port}/ws", additional_headers=origin, proxy=None),
    ):
        pass


# -- versions and ways in ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "kept", "status"),
    [("0.3.44", False, 200), ("0.3.45", True, 200), ("0.24.0", True, 200), ("0.25.0", None, 400)],
)
def test_an_id_of_our_own_is_taken_as_the_release_takes_it(version, kept, status):
    """Ignored, taken as it is, refused unless it is a UUID."""
    with ComfyUIServer(version, draw="noise") as server:
        answer = post(server, prompt_id="job 1")

    assert answer.status_code == status
    assert kept is None or (answer.json()["prompt_id"] == "job 1") == kept


@pytest.mark.parametrize(("version", "outcome"), [("0.3.56", "interrupted"), ("0.3.57", "done")])
def test_an_interrupt_with_anothers_id_hits_before_the_release_that_reads_it(version, outcome):
    """The stranger's mistake is ours to bear."""
    with ComfyUIServer(version, draw="noise") as server:
        hold = server.hold("*", 1)
        post(server)
        assert hold.wait_reached()
        requests.post(f"{server.url}/interrupt", json={"prompt_id": "other"}, timeout=10)
        hold.release()
        assert server.wait_idle()
        assert server.jobs[0].outcome == outcome


@pytest.mark.parametrize(("version", "steps"), [("0.3.65", 2), ("0.3.66", 1)])
def test_an_interrupt_waits_for_the_step_before_the_release_that_looks_within(version, steps):
    """A step of ten seconds is cut short, or not."""
    clock = ManualClock()
    with ComfyUIServer(version, draw="noise", clock=clock, latency_s=40 / 0.9) as server, Client(server) as client:
        post(server, small_graph(steps=4), client_id="me")
        assert server.wait_running()
        clock.advance(10)
        client.wait_for(lambda message: '"type": "progress",' in str(message)[:30])
        requests.post(f"{server.url}/interrupt", timeout=10)
        if version == "0.3.65":
            assert server.jobs[0].outcome == "running"
            clock.advance(10)
        assert server.wait_idle()
        events = client.until_done()

    assert events.count("progress") <= steps
    assert server.jobs[0].outcome == "interrupted"


def test_an_old_server_has_no_jobs_no_features_and_no_cancel():
    """404 where nothing is, and the event 1 for everybody."""
    with ComfyUIServer("0.3.40", draw="noise", preview_method="latent2rgb") as server:
        assert [requests.get(server.url + path, timeout=10).status_code for path in ("/features", "/api/jobs")] == [
            404
        ] * 2
        assert requests.post(f"{server.url}/api/jobs/x/cancel", timeout=10).status_code == 405
        assert requests.get(f"{server.url}/interrupt", timeout=10).status_code == 404
        with Client(server, flags=True) as client:
            run(server, client_id="me")
            events = client.until_done()

    assert 1 in events
    assert not {4, "feature_flags", "progress_state"} & {*events}


def test_a_cached_result_without_a_client_has_no_outputs_in_some_releases():
    """From 0.19 to 0.27."""
    for version, count in (("0.18.0", 1), ("0.19.0", 0), ("0.27.9", 0), ("0.28.0", 1)):
        with ComfyUIServer(version, draw="noise") as server:
            run(server, small_graph(7))
            assert len(run(server, small_graph(7))["outputs"]) == count, version


def test_a_proxy_in_front_asks_for_credentials_and_shows_a_path():
    """On the socket too."""
    with ComfyUIServer(draw="noise", credentials="Bearer abc", prefix="/comfy") as server:
        assert requests.get(f"{server.url}/queue", timeout=10).status_code == 401
        allowed = {"authorization": "Bearer abc"}
        assert requests.get(f"{server.url}/api/queue", headers=allowed, timeout=10).status_code == 200
        assert requests.get(f"http://127.0.0.1:{server.port}/queue", headers=allowed, timeout=10).status_code == 404


def test_a_model_that_is_added_is_there_at_once(server):
    """No refresh is asked for."""
    graph = small_graph()
    graph["ckpt"]["inputs"]["ckpt_name"] = "new.safetensors"
    assert post(server, graph).status_code == 400
    server.add_model("checkpoints", "new.safetensors")
    assert post(server, graph).status_code == 200


@pytest.mark.parametrize(
    "options",
    [{"version": "0.3.39"}, {"version": "newest"}, {"preview_method": "fast"}, {"packs": ("krita",)}, {"draw": "art"}],
)
def test_what_the_server_cannot_be_is_refused(options):
    """With what is allowed."""
    with pytest.raises(ValueError, match="must be"):
        ComfyUIServer(**options)
