"""Each recorded websocket session of three real ComfyUI servers is replayed; every message must be the recorded one."""

import base64
import json
import threading
import uuid
from copy import deepcopy

import pytest
import requests
from comfyui_client import Client, read
from comfyui_recordings import UUID, exchange, plain, recordings, text_of
from test_comfyui_server_contract import BROKEN, PREVIEWS, changed_but, png, with_files

from rxpipe.testing.servers.comfyui import ComfyUIServer
from rxpipe.testing.servers.core.clock import ManualClock

SLEEP_S = 3.0


class Session:
    """The replay of one recorded session."""

    def __init__(self, version, name, **options):
        self.version, self.name = version, name
        self.events = recordings("session")[version, name]["events"]
        self.server = ComfyUIServer(version, draw="noise", **PREVIEWS[version], **options)
        self.clients = {}
        self.ids = []

    def __enter__(self):
        self.server.start()
        with_files(self.server)
        self.server.files.write("input", "rxpipe", "init.png", png((96, 96)))
        return self

    def __exit__(self, *exc_info):
        for client in self.clients.values():
            client.close()
        self.server.stop()

    # -- what was recorded --------------------------------------------------------------------------------------------

    def messages(self, socket=""):
        """The recorded messages that a socket received."""
        return [data for name, kind, data in self.events if name == socket and kind in ("recv", "binary")]

    def jobs(self):
        """The ids of the recorded jobs, in the order in which they ran."""
        names = [message["data"].get("prompt_id") for message in self.texts() if "data" in message]
        return list(dict.fromkeys(name for name in names if name))

    def texts(self):
        """The recorded text messages of every socket."""
        return [data for _, kind, data in self.events if kind == "recv"]

    def of_job(self, prompt_id, kind):
        """The data of the messages of one kind of a recorded job."""
        found = [message["data"] for message in self.texts() if message["type"] == kind]
        return [data for data in found if data.get("prompt_id") == prompt_id]

    def cached(self, prompt_id):
        """The nodes of a recorded job that were cached."""
        shown = self.of_job(prompt_id, "execution_cached")
        return shown[0]["nodes"] if shown else ["1", "2", "3", "4"]

    def has_previews(self):
        """Whether pictures came while a sampler ran."""
        return any(
            data.get("picture") == 1 or data.get("metadata", {}).get("image_type") == "image/jpeg"
            for _, kind, data in self.events
            if kind == "binary"
        )

    def graph(self, prompt_id, seed=7):
        """The graph of a recorded job of seven numbered nodes, as its messages show it."""
        shown = exchange(self.version, "90")["response"]["json"]
        graph = deepcopy(next(iter(shown.values()))["prompt"][2])
        progress = self.of_job(prompt_id, "progress")
        steps = [data["max"] for data in progress if data["node"] == "5"]
        graph["5"]["inputs"] |= {"steps": steps[0] if steps else 2, "seed": seed}
        finals = [data["max"] for data in progress if data["node"] == "7"]
        images = [image for data in self.of_job(prompt_id, "executed") for image in data["output"].get("images", ())]
        if finals:
            graph["7"] = {"class_type": "SaveImageWebsocket", "inputs": {"images": ["6", 0]}}
        elif images and images[0]["type"] == "temp":
            graph["7"] = {"class_type": "PreviewImage", "inputs": {"images": ["6", 0]}}
        elif images and images[0]["filename"].startswith("other"):
            graph["7"]["inputs"]["filename_prefix"] = "other"
        graph["4"]["inputs"]["batch_size"] = max(finals[0] if finals else len(images), 1)
        return graph

    # -- what the client did ------------------------------------------------------------------------------------------

    def prepare(self, graph, cached):
        """Run something that leaves exactly these nodes of the graph in the cache."""
        if cached:
            before = graph if set(cached) == set(graph) else changed_but(graph, cached)
            before = {key: node for key, node in before.items() if key in cached or set(cached) <= set(graph)}
            answer = requests.post(f"{self.server.url}/prompt", json={"prompt": before, "client_id": "b"}, timeout=10)
            assert answer.status_code == 200, answer.text
            self.done()

    def connect(self, socket="", client_id="me", *, query=None):
        """Connect a socket, with feature flags if the recorded one sent them at once."""
        own = [(kind, data) for name, kind, data in self.events if name == socket and kind in ("send", "recv")]
        flags = own[:1] != [] and own[0][0] == "send" and own[0][1].get("type") == "feature_flags"
        query = f"?clientId={client_id}" if query is None else query
        self.clients[socket] = Client(self.server, query, flags=flags)
        self.clients[socket].wait(2 if flags and self.version != "0.3.40" else 1)

    def post(self, graph, *, client_id="me", **body):
        """Post a graph as the recorded client did."""
        extra = {"preview_method": "latent2rgb"} if self.has_previews() and self.version == "0.33.0" else {}
        body = {"prompt": graph, "extra_data": extra, **body}
        if client_id is not None:
            body["client_id"] = client_id
        answer = requests.post(f"{self.server.url}/prompt", json=body, timeout=10)
        assert answer.status_code == 200, answer.text
        self.ids.append(answer.json()["prompt_id"])
        return self.ids[-1]

    def call(self, path, body=None):
        """POST something else."""
        return requests.post(self.server.url + path, json=body, timeout=10)

    def done(self):
        """Wait until nothing runs and every event is out."""
        assert self.server.wait_idle()
        assert self.server.wait_for(lambda: self.server.site.sockets.sent)

    # -- the comparison -----------------------------------------------------------------------------------------------

    def check(self, socket=""):
        """Compare every message of a socket: `status`, which others cause too, for itself."""
        expected = self.messages(socket)
        client = self.clients[socket]
        client.wait(len(expected))
        client.close()
        got, wanted = numbered([read(message) for message in client.received]), numbered(expected)
        for of_status in (False, True):
            assert [text_of(line) for line in got if is_status(line) == of_status] == [
                text_of(line) for line in wanted if is_status(line) == of_status
            ]


def is_status(message):
    """Whether a message is a `status`."""
    return message.get("type") == "status"


def numbered(messages):
    """The messages with ids by the order in which they appear, and without what differs each time."""
    names = {}
    lines = []
    for message in map(deepcopy, messages):
        if isinstance(message.get("data"), dict) and "sid" in message["data"]:
            message["data"]["sid"] = "SID"
        for name in sorted({*UUID.findall(json.dumps(message))}):
            names.setdefault(name, f"JOB{len(names)}")
        text = json.dumps(message)
        for name, short in names.items():
            text = text.replace(name, short)
        lines.append(plain(json.loads(text)))
    return lines


# -- one job from its start to its end --------------------------------------------------------------------------------

WHOLE = {
    "0.33.0": (
        "a-", "a0-", "b-", "b2-", "b3-", "g1-", "g2-", "g3-", "g4-", "h1-", "h2-", "h3-", "h4-",
    ),
    "0.3.64": ("a-", "b-", "g2-", "g3-", "h1-", "h4-"),
    "0.3.40": ("a-", "b-", "g-", "h1-"),
}  # fmt: skip
GRAPHS = {"n-facedetailer-no-face": "adetailer-impact-onnx-no-face", "p-full": "txt2img-full"}
GRAPHS |= {"n-facedetailer-two-faces": "adetailer-impact-onnx-two-faces", "p-hires": "txt2img-hires-latent"}
GRAPHS |= {"o-upscale-model": "upscale-model-exact-2.5"}


def whole():
    """The sessions of one job that nothing disturbs."""
    for version, name in recordings("session"):
        if name.startswith(WHOLE[version]):
            yield pytest.param(version, name, id=f"{version}-{name}")


@pytest.mark.parametrize(("version", "name"), list(whole()))
def test_a_job_of_seven_nodes_sends_what_was_recorded(version, name):
    """Cold, partly and wholly cached, with previews of both forms and without, a batch, each way of output."""
    with Session(version, name) as session:
        (job,) = session.jobs()
        graph = session.graph(job)
        session.prepare(graph, session.cached(job))
        session.connect()
        session.post(graph, **({"extra_data": {"preview_method": "none"}} if name.startswith("g3-") else {}))
        session.done()
        session.check()


@pytest.mark.parametrize("name", list(GRAPHS))
def test_a_job_of_a_whole_pipeline_sends_what_was_recorded(name):
    """Detailer with two faces and with none, an upscaler, a long graph in the server's own order."""
    with Session("0.33.0", name) as session:
        (job,) = session.jobs()
        graph = recordings("graph")[None, GRAPHS[name]]["graph"]
        cached = session.cached(job)
        if cached == ["ckpt"]:
            session.prepare({"ckpt": graph["ckpt"], **session_of_checkpoint()}, ["ckpt"])
        else:
            session.prepare(graph, cached)
        session.connect()
        session.post(graph)
        session.done()
        session.check()


def session_of_checkpoint():
    """A graph that leaves nothing of use to another one but its checkpoint."""
    return {
        "a": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "b": {"class_type": "VAEEncode", "inputs": {"pixels": ["a", 0], "vae": ["ckpt", 2]}},
        "c": {"class_type": "VAEDecode", "inputs": {"samples": ["b", 0], "vae": ["ckpt", 2]}},
        "d": {"class_type": "PreviewImage", "inputs": {"images": ["c", 0]}},
    }


EMPTY_IMAGE = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 255}}


@pytest.mark.parametrize("name", ["a1-four-node-run-no-sampler", "i-text-event3", "r-etn-base64-in-and-websocket-out"])
def test_a_job_without_a_sampler_sends_what_was_recorded(name):
    """Pictures only, a text, a picture in the graph and one over the socket."""
    graphs = {
        "a1-four-node-run-no-sampler": {
            "1": EMPTY_IMAGE,
            "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
            "3": {"class_type": "ImageBlur", "inputs": {"image": ["2", 0], "blur_radius": 1, "sigma": 1.0}},
            "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
        },
        "i-text-event3": {"1": {"class_type": "RecText", "inputs": {"text": "hello from a node"}}},
        "r-etn-base64-in-and-websocket-out": {
            "1": {"class_type": "ETN_LoadImageBase64", "inputs": {"image": base64.b64encode(png((8, 8))).decode()}},
            "2": {"class_type": "ETN_SendImageWebSocket", "inputs": {"images": ["1", 0], "format": "PNG"}},
        },
    }
    with Session("0.33.0", name) as session:
        session.connect()
        session.post(graphs[name])
        session.done()
        session.check()


FAILED = {
    "c-error-broken-checkpoint": ("0.33.0", "196"),
    "c-error-oom": ("0.33.0", "98-history-error-oom"),
    "c-error-runtime": ("0.33.0", "98-history-error-runtime"),
}


@pytest.mark.parametrize(
    ("version", "name"),
    [*(("0.33.0", name) for name in FAILED), ("0.3.64", "c-error-oom"), ("0.3.40", "c-error-oom")],
)
def test_a_job_that_fails_sends_what_was_recorded(version, name):
    """A broken checkpoint, a full card, an exception: `execution_error`, `status`, the end."""
    start = "98" if version != "0.33.0" else FAILED[name][1]
    shown = next(iter(exchange(version, start)["response"]["json"].values()))
    with Session(version, name, **BROKEN) as session:
        (job,) = session.jobs()
        graph = shown["prompt"][2]
        graph["5"]["inputs"]["steps"] = max((data["max"] for data in session.of_job(job, "progress")), default=2)
        before = deepcopy(graph)
        if session.cached(job) == ["1", "2", "3", "4", "5", "6"]:
            before = {key: node for key, node in graph.items() if key != "8"}
            before["7"] = {"class_type": "PreviewImage", "inputs": {"images": ["6", 0]}}
            session.post(before, client_id="b")
        elif session.cached(job):
            session.prepare({**changed_but(graph, session.cached(job))}, session.cached(job))
        session.done()
        session.connect()
        session.post(graph)
        session.done()
        session.check()


# -- what happens meanwhile -------------------------------------------------------------------------------------------


def interrupted(session, hold, action):
    """Post the session's job, do something where it is held, and compare."""
    (job,) = session.jobs()
    graph = session.graph(job)
    graph["5"]["inputs"]["steps"] = session.of_job(job, "progress")[0]["max"]
    session.prepare(graph, session.cached(job))
    hold = session.server.hold(*hold) if isinstance(hold, tuple) else session.server.hold_node(hold)
    session.connect()
    own = session.post(graph)
    assert hold.wait_reached()
    action(own)
    hold.release()
    session.done()
    session.check()


def test_d1_an_interrupt_by_id_hits_only_its_job():
    """Another id changes nothing; ours ends the job in the step where it is."""
    with Session("0.33.0", "d1-interrupt-prompt_id-mid-sampling") as session:
        early = session.server.hold("txt2img", 3)

        def act(own):
            assert session.call("/interrupt", {"prompt_id": own}).status_code == 200

        def miss():
            assert early.wait_reached(times=1)
            session.call("/interrupt", {"prompt_id": str(uuid.uuid4())})
            early.release()

        thread = threading.Thread(target=miss)
        thread.start()
        interrupted(session, ("txt2img", 8), act)
        thread.join()


@pytest.mark.parametrize(
    ("version", "name", "step"),
    [
        ("0.33.0", "d2-interrupt-global-mid-sampling", 2),
        ("0.33.0", "d3-api-jobs-cancel-mid-sampling", 2),
        ("0.3.64", "d1-interrupt-prompt_id-mid-sampling", 4),
        ("0.3.40", "d-interrupt-with-other-prompt_id-hits-us", None),
    ],
)
def test_an_interrupt_ends_the_running_job_as_recorded(version, name, step):
    """Without an id, by cancelling, by its id, and with a stranger's id on a server that does not read it."""
    with Session(version, name) as session:
        calls = {
            "d2": lambda _own: session.call("/interrupt"),
            "d3": lambda own: session.call(f"/api/jobs/{own}/cancel"),
            "d1": lambda own: session.call("/interrupt", {"prompt_id": own}),
            "d-": lambda _own: session.call("/interrupt", {"prompt_id": str(uuid.uuid4())}),
        }
        (job,) = session.jobs()
        step = step or len(session.of_job(job, "progress"))
        interrupted(session, ("txt2img", step), calls[name[:2]])
        assert [interrupt.job is not None for interrupt in session.server.interrupts] == [True]


def test_d4_a_node_that_does_not_look_is_waited_for(manual_clock):
    """The next node ends the job."""
    with Session("0.33.0", "d4-interrupt-in-deaf-node", clock=manual_clock) as session:
        (job,) = session.jobs()
        graph = session.graph(job)
        graph["8"] = {"class_type": "RecSleep", "inputs": {"image": ["6", 0], "seconds": SLEEP_S}}
        graph["7"]["inputs"]["images"] = ["8", 0]
        session.prepare({key: node for key, node in graph.items() if key != "8"} | {
            "7": {"class_type": "PreviewImage", "inputs": {"images": ["6", 0]}},
            "5": {**graph["5"], "inputs": {**graph["5"]["inputs"], "seed": 0}},
        }, ["1", "2", "3", "4"])  # fmt: skip
        session.connect()
        own = session.post(graph)
        session.clients[""].wait(index_of(session, lambda data: data.get("node") == "8") + 1)
        session.call("/interrupt", {"prompt_id": own})
        manual_clock.advance(SLEEP_S)
        session.done()
        session.check()


def index_of(session, predicate):
    """The place of the first `executing` whose data fit, among the messages of the only socket."""
    messages = session.messages()
    return next(
        place
        for place, message in enumerate(messages)
        if message.get("type") == "executing" and predicate(message["data"])
    )


def test_d5_vae_decoding_is_interrupted():
    """On a new server at once."""
    with Session("0.33.0", "d5-interrupt-in-vae-decode") as session:
        interrupted(session, "VAEDecode", lambda own: session.call("/interrupt", {"prompt_id": own}))


def test_d6_a_waiting_job_is_deleted_and_the_running_one_goes_on():
    """Neither an interrupt with the waiting id nor a deletion of the running one does anything."""
    with Session("0.33.0", "d6-delete-pending-while-running") as session:
        graph = session.graph(session.jobs()[0])
        session.prepare(graph, ["1", "2", "3"])
        early, middle, late = (session.server.hold("*", step) for step in (2, 3, 4))
        begun = session.server.hold_node("KSampler")
        session.connect()
        running = session.post(graph)
        assert begun.wait_reached()
        waiting = session.post({**graph, "5": {**graph["5"], "inputs": {**graph["5"]["inputs"], "seed": 9}}})
        begun.release()
        assert early.wait_reached()
        session.call("/interrupt", {"prompt_id": waiting})
        early.release()
        assert middle.wait_reached()
        session.call("/queue", {"delete": [waiting]})
        session.call("/queue", {"delete": [running]})
        middle.release()
        late.release()
        session.done()
        session.check()


def test_d7_clearing_the_queue_tells_nobody():
    """Two waiting jobs are gone, the running one is not."""
    with Session("0.33.0", "d7-queue-clear") as session:
        graph = session.graph(session.jobs()[0])
        session.prepare(graph, ["1", "2", "3", "4"])
        begun, first = session.server.hold_node("KSampler"), session.server.hold("*", 1)
        session.connect()
        for seed in (7, 8, 9):
            graph["5"]["inputs"]["seed"] = seed
            session.post(graph)
            assert begun.wait_reached()
        begun.release()
        assert first.wait_reached()
        session.call("/queue", {"clear": True})
        first.release()
        session.done()
        session.check()


def test_d8_jobs_are_cancelled_where_they_are():
    """The waiting one, then the running one together with one that is gone already."""
    with Session("0.33.0", "d8-api-jobs-cancel-pending-and-batch") as session:
        graph = session.graph(session.jobs()[0])
        session.prepare(graph, ["1", "2", "3", "4"])
        begun, first = session.server.hold_node("KSampler"), session.server.hold("*", 1)
        session.connect()
        running = session.post(graph)
        assert begun.wait_reached()
        graph["5"]["inputs"]["seed"] = 8
        waiting = session.post(graph)
        begun.release()
        assert first.wait_reached()
        assert session.call(f"/api/jobs/{waiting}/cancel").json() == {"cancelled": True}
        assert session.call("/api/jobs/cancel", {"job_ids": [running, waiting]}).json() == {"cancelled": True}
        session.done()
        session.check()


def test_d9_a_cancel_in_the_last_node_says_true_and_comes_too_late(manual_clock):
    """The job succeeds, and the next one is not hit."""
    name = "d9-cancel-during-the-last-node-says-true-but-succeeds"
    with Session("0.33.0", name, clock=manual_clock) as session:
        session.connect()
        sleep = {"class_type": "RecSleepOut", "inputs": {"image": ["1", 0], "seconds": SLEEP_S}}
        own = session.post({"1": EMPTY_IMAGE, "2": sleep})
        session.clients[""].wait(index_of(session, lambda data: data.get("node") == "2") + 1)
        assert session.call(f"/api/jobs/{own}/cancel").json() == {"cancelled": True}
        manual_clock.advance(SLEEP_S)
        session.done()
        other = {"class_type": "EmptyImage", "inputs": {**EMPTY_IMAGE["inputs"], "color": 1}}
        session.post({"1": other, "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}})
        session.done()
        session.check()
    assert [job.outcome for job in session.server.jobs] == ["done", "done"]


def test_e1_two_clients_get_their_own_jobs_only():
    """Each in its own form of preview; `status` goes to both."""
    with Session("0.33.0", "e1-two-clients") as session:
        first, second = session.jobs()
        graph = session.graph(first)
        session.prepare(graph, ["1", "2", "3", "4"])
        begun = session.server.hold_node("KSampler")
        session.connect("A", "a")
        session.connect("B", "b")
        session.post(graph, client_id="a")
        assert begun.wait_reached()
        session.post(session.graph(second, 28), client_id="b")
        begun.release()
        session.done()
        session.check("A")
        session.check("B")


def test_e2_a_job_without_a_client_is_heard_by_strangers():
    """Progress and the interrupt, but neither its start nor its end."""
    with Session("0.33.0", "e2-job-without-client_id-seen-by-a-stranger") as session:
        first, second = session.jobs()
        session.prepare(session.graph(first), ["1", "2", "3", "4"])
        session.connect("A", "a")
        session.post(session.graph(first, 28), client_id=None)
        session.done()
        hold = session.server.hold("*", 5)
        session.post(session.graph(second, 29), client_id=None)
        assert hold.wait_reached()
        session.call("/interrupt")
        session.done()
        session.check("A")


def test_f1_a_socket_with_the_same_id_is_told_where_the_job_is():
    """`executing` without an id, then what follows; what came between is lost."""
    with Session("0.33.0", "f1-reconnect-same-clientId-after-clean-close") as session:
        reconnected(session)
        session.check("2nd")


def reconnected(session):
    """Post, close the socket after two steps, open another one with its id after four."""
    graph = session.graph(session.jobs()[0])
    session.prepare(graph, ["1", "2", "3", "4"])
    early, late = session.server.hold("*", 2), session.server.hold("*", 4)
    session.connect("1st")
    session.post(graph)
    assert early.wait_reached()
    session.check("1st")
    assert session.server.wait_for(lambda: not session.server.socket_ids)
    early.release()
    assert late.wait_reached()
    session.connect("2nd")
    late.release()
    session.done()


def test_f2_the_end_of_an_older_socket_makes_the_newer_one_deaf():
    """For the rest of this job and for the next one."""
    with Session("0.33.0", "f2-second-socket-same-clientId-then-first-closes") as session:
        first = session.jobs()[0]
        graph = session.graph(first)
        session.prepare(graph, ["1", "2", "3", "4"])
        early, late = session.server.hold("*", 2), session.server.hold("*", 4)
        session.connect("1st")
        session.post(graph)
        assert early.wait_reached()
        session.clients["1st"].wait(len(session.messages("1st")))
        session.connect("2nd")
        early.release()
        assert late.wait_reached()
        session.clients["2nd"].wait(len(session.messages("2nd")))
        session.check("1st")
        assert session.server.wait_for(lambda: not session.server.socket_ids)
        late.release()
        session.done()
        session.post(session.graph(first, 9))
        session.done()
        session.check("2nd")
    assert [job.outcome for job in session.server.jobs[1:]] == ["done", "done"]


def test_a_server_that_remembers_its_sockets_can_be_asked_for():
    """Without the fault of the real ones the newer socket goes on."""
    with Session("0.33.0", "f2-second-socket-same-clientId-then-first-closes", forgets=False) as session:
        session.connect("1st")
        session.connect("2nd")
        session.clients["1st"].close()
        session.post(session.graph(session.jobs()[0]))
        session.clients["2nd"].wait_for(lambda message: '"node": null' in str(message))


def test_f3_a_job_goes_on_without_its_client():
    """A connection that is cut off does not stop it."""
    with Session("0.33.0", "f3-disconnect-job-goes-on") as session:
        graph = session.graph(session.jobs()[0])
        session.prepare(graph, ["1", "2", "3", "4"])
        hold = session.server.hold("*", 2)
        session.connect("1st")
        own = session.post(graph)
        assert hold.wait_reached()
        session.clients["1st"].wait(len(session.messages("1st")))
        session.clients["1st"].abort()
        hold.release()
        session.done()
        session.check("1st")
        history = requests.get(f"{session.server.url}/history/{own}", timeout=10).json()
    assert history[own]["status"]["status_str"] == "success"


def test_f4_flags_count_only_as_the_first_message():
    """Without a client id the server makes one; what is no JSON is not answered."""
    with Session("0.33.0", "f4-no-clientId-and-late-feature_flags") as session:
        session.connect(query="")
        for _, kind, data in session.events:
            if kind == "send":
                session.clients[""].send(data)
        session.clients[""].send("not json")
        session.done()
        session.check()


def test_f5_a_socket_that_opens_late_gets_the_rest():
    """As one that reconnects."""
    with Session("0.33.0", "f5-socket-opened-after-the-post") as session:
        graph = session.graph(session.jobs()[0])
        session.prepare(graph, ["1", "2", "3", "4"])
        hold = session.server.hold("*", 4)
        session.post(graph)
        assert hold.wait_reached()
        session.connect()
        hold.release()
        session.done()
        session.check()


def test_j_jobs_run_by_their_number():
    """The running one, then the smallest numbers; `front` is minus the counter."""
    with Session("0.33.0", "j-front-and-number-order") as session:
        jobs = session.jobs()
        session.prepare(session.graph(jobs[0]), ["1", "2", "3", "4"])
        while session.server.site.queue.next_number < 23:
            session.call("/prompt", {"prompt": {}})
        begun = session.server.hold_node("KSampler")
        session.connect()
        session.post(session.graph(jobs[0], 20))
        assert begun.wait_reached()
        for seed, options in enumerate(({}, {"front": True}, {"number": -1000.5}, {"number": 0})):
            session.post(session.graph(jobs[1], 21 + seed), **options)
        begun.release()
        session.done()
        session.check()
    first, plain_one, front, smallest, zero = session.ids
    started = [job.task_id for job in sorted(session.server.jobs[1:], key=lambda job: job.started_s)]
    assert started == [first, smallest, front, zero, plain_one]


def test_k_one_id_runs_twice():
    """The second one is in the history."""
    with Session("0.33.0", "k-same-prompt_id-twice") as session:
        (job,) = session.jobs()
        graph = session.graph(job)
        graph["4"]["inputs"]["batch_size"] = 1
        session.prepare(graph, ["1", "2", "3", "4"])
        begun = session.server.hold_node("KSampler")
        session.connect()
        own = session.post(graph, prompt_id=str(uuid.uuid4()))
        assert begun.wait_reached()
        again = deepcopy(graph)
        again["5"]["inputs"] |= {"steps": 1, "seed": 9}
        session.post(again, prompt_id=own)
        begun.release()
        session.done()
        session.check()
        history = requests.get(f"{session.server.url}/history", timeout=10).json()
    assert history[own]["prompt"][2]["5"]["inputs"]["seed"] == 9


def test_l_only_the_outputs_that_were_asked_for_run():
    """partial_execution_targets."""
    with Session("0.33.0", "l-partial_execution_targets") as session:
        shown = next(iter(exchange("0.33.0", "122")["response"]["json"].values()))
        graph = shown["prompt"][2]
        session.prepare(graph, ["1", "2", "3", "4"])
        session.connect()
        session.post(graph, partial_execution_targets=["8"])
        session.done()
        session.check()


def test_q_a_server_that_stops_says_nothing():
    """The socket is cut off: 1006. Afterwards queue and history are empty, and the files are still there."""
    with Session("0.3.64", "q-server-stopped-mid-run") as session:
        graph = session.graph(session.jobs()[0])
        hold = session.server.hold("*", 2)
        session.connect()
        own = session.post(graph)
        assert hold.wait_reached()
        session.clients[""].wait(len(session.messages()))
        session.server.die()
        session.check()
        assert session.clients[""].code == 1006
        hold.release()
        session.server.come_back()
        assert requests.get(f"{session.server.url}/history/{own}", timeout=10).json() == {}
        queue = requests.get(f"{session.server.url}/queue", timeout=10).json()
        assert queue == {"queue_running": [], "queue_pending": []}
        assert session.server.files.paths("input")
        assert not session.server.files.paths("temp")
    assert [job.outcome for job in session.server.jobs] == ["lost"]


@pytest.fixture
def manual_clock():
    """A clock that a test moves."""
    return ManualClock()


def test_no_recorded_session_is_left_out():
    """Each is replayed by a test of this file: by a table, or by its own name."""
    source = __import__("pathlib").Path(__file__).read_text()
    missing = [
        name
        for version, name in recordings("session")
        if not name.startswith(WHOLE[version]) and name not in GRAPHS and f'"{name}"' not in source
    ]

    assert missing == []
    assert len(recordings("session")) == 58
