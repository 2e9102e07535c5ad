"""The core of the test servers with a kind of server that is not the WebUI: routes, faults, death, upgrades."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

import rxpipe.testing.servers.core
from rxpipe.testing.servers.core.clock import ManualClock, RealClock
from rxpipe.testing.servers.core.faults import Fault
from rxpipe.testing.servers.core.multipart import parse_form
from rxpipe.testing.servers.core.request_log import RequestLog
from rxpipe.testing.servers.core.server import LoopbackServer, serve_forever
from rxpipe.testing.servers.core.site import Site
from rxpipe.testing.servers.core.wire import Answer, Upgrade, json_answer


class Doubler(Site):
    """One route that renders, one that becomes another protocol; everything else is a 404."""

    def __init__(self, request_log):
        super().__init__(request_log)
        self.doubled = 0

    def handle(self, call, request, body):
        if (call.method, call.path) == ("POST", "/double"):
            self.doubled += 1
            return json_answer({"twice": 2 * body["number"], "count": self.doubled})
        if request.headers.get("upgrade") == "echo":
            return Upgrade("echo", echo, {"x-greeting": "hello"})
        if call.path == "/last":
            return Answer(500, b"trouble", "", {"connection": "close"})
        if call.path == "/form":
            form = parse_form(request.body, request.headers.get("content-type", ""))
            return json_answer({name: [part.filename, part.text] for name, part in form.items()})
        return json_answer({"error": f"no {call.path}"}, 404)

    def stage_of(self, request, body):
        return "txt2img" if request.path == "/double" and body is not None else None


def echo(stream, connection):
    """Send every line back."""
    while line := stream.readline():
        connection.sendall(line)


@pytest.fixture
def server():
    log = RequestLog(RealClock())
    with LoopbackServer(lambda: Doubler(log), log) as started:
        yield started


def double(server, number=21, timeout=5):
    return requests.post(f"{server.url}/double", json={"number": number}, timeout=timeout)


@contextmanager
def upgraded(server, *more):
    """A socket that speaks echo, its stream behind the head of the answer, and that head."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client, client.makefile("rb") as stream:
        request = "GET /ws HTTP/1.1\r\nhost: it\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n"
        client.sendall(request.encode() + b"".join(more))
        head = []
        while (line := stream.readline()) not in (b"\r\n", b""):
            head.append(line.decode().strip())
        yield client, stream, head


def test_a_route_answers_and_its_requests_are_recorded(server):
    assert double(server).json() == {"twice": 42, "count": 1}
    assert requests.get(f"{server.url}/other", timeout=5).status_code == 404
    assert [(call.path, call.stage, call.status) for call in server.calls] == [
        ("/double", "txt2img", 200),
        ("/other", None, 404),
    ]
    assert server.calls_to("txt2img")[0].body == {"number": 21}
    assert server.max_in_flight == 1


def test_a_fault_strikes_the_request_that_it_is_planned_for(server):
    server.fault("txt2img", Fault.RESET, on_call=2)
    assert double(server).ok
    with pytest.raises(requests.ConnectionError):
        double(server)
    assert double(server).json()["count"] == 2


@pytest.mark.parametrize("fault", Fault.every(), ids=lambda fault: fault.name)
def test_after_any_fault_the_server_answers_again(server, fault):
    server.fault("txt2img", fault.but(seconds=0.01, back_after_s=0.0))
    try:
        answer = double(server, timeout=0.25)
    except requests.RequestException:
        answer = None
    if fault.kind == "instead":
        assert (answer.status_code, answer.text) == (fault.status, fault.message)
        assert answer.headers.get("retry-after") == (fault.retry_after_s and str(fault.retry_after_s))
    assert server.wait_for(lambda: not server.down)
    assert double(server).ok


def test_a_server_that_died_comes_back_with_a_new_site(server):
    assert double(server).json()["count"] == 1
    server.die()
    assert server.down
    with pytest.raises(requests.ConnectionError):
        double(server)
    server.come_back()
    assert double(server).json()["count"] == 1
    assert len(server.calls) == 2


def test_a_head_has_no_body_and_an_answer_may_close_or_name_no_type(server):
    """HEAD tells the length; `connection: close` ends the connection in order, and the next request opens another."""
    with requests.Session() as session:
        head = session.head(f"{server.url}/nothing", timeout=5)
        closing = [session.get(f"{server.url}/last", timeout=5) for _ in range(2)]

    assert (head.content, head.headers["content-length"]) == (b"", "23")
    assert [(answer.status_code, answer.headers["connection"]) for answer in closing] == [(500, "close")] * 2
    assert "content-type" not in closing[0].headers
    assert server.connections == 2


@pytest.mark.parametrize("name", ["pic.png", "ein Bild ä (1).png", 'a "quoted" one.png'])
def test_a_form_is_read_as_clients_write_it(server, name):
    """Fields and files, names with umlauts and quotes, bytes that look like a boundary."""
    data = b"--\r\n\r\n--x"
    answer = requests.post(
        f"{server.url}/form", data={"kind": "input"}, files={"image": (name, data, "image/png")}, timeout=5
    )

    assert answer.json() == {"kind": [None, "input"], "image": [name, data.decode()]}


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"{}", "application/json"), (b"--x\r\nno head", "multipart/form-data; boundary=x"), (b"", "multipart/form-data")],
)
def test_what_is_no_form_is_refused(body, kind):
    """With what came."""
    with pytest.raises(ValueError, match="form"):
        parse_form(body, kind)


def test_an_upgrade_takes_over_the_connection(server):
    """What the client sent together with its request is the first that the new protocol reads."""
    with upgraded(server, b"one\n") as (client, stream, head):
        assert head[0] == "HTTP/1.1 101 Switching Protocols"
        assert {"connection: Upgrade", "upgrade: echo", "x-greeting: hello", "server: test-server"} <= set(head)
        assert stream.readline() == b"one\n"
        client.sendall(b"two\n")
        assert stream.readline() == b"two\n"
        assert double(server).ok, "other connections are served meanwhile"
    assert server.calls_to("ws")[0].status == 101


@pytest.mark.parametrize("end", ["go_down", "die", "stop"])
def test_an_upgraded_connection_ends_with_the_server(server, end):
    with upgraded(server, b"one\n") as (_, stream, _):
        assert stream.readline() == b"one\n"
        getattr(server, end)()
        with pytest.raises(ConnectionError):
            stream.readline()


def test_an_upgraded_connection_outlives_refusals_and_ends_with_stop(server):
    """The request before a planned refusal still gets its connection."""
    server.faults("ws", [None, Fault.REFUSED.but(back_after_s=None)])
    with upgraded(server, b"one\n") as (client, stream, _):
        assert stream.readline() == b"one\n"
        with pytest.raises(requests.ConnectionError):
            double(server)
        client.sendall(b"two\n")
        assert stream.readline() == b"two\n"
        server.stop()
        with pytest.raises(ConnectionError):
            stream.readline()


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.RESET_MID_BODY, Fault.SHORT_BODY, Fault.UNAVAILABLE])
def test_an_upgrade_meets_faults(server, fault):
    """It is refused, or ends right behind its head."""
    server.fault("ws", fault)
    try:
        with upgraded(server, b"one\n") as (_, stream, head):
            assert "101" not in head[0] if fault.kind == "instead" else stream.read() == b""
    except ConnectionError:
        assert fault.kind.startswith("reset")


def test_a_frozen_server_reads_and_answers_after_the_thaw():
    log = RequestLog(ManualClock())
    with LoopbackServer(lambda: Doubler(log), log) as server:
        server.freeze()
        with pytest.raises(requests.Timeout):
            double(server, timeout=0.1)
        assert server.wait_calls("txt2img")
        server.thaw()
        assert double(server).ok


def test_the_last_line_of_a_foreground_server_counts_its_requests():
    lines = []

    def announce(line):
        lines.append(line)
        if len(lines) == 1:
            raise KeyboardInterrupt

    log = RequestLog(RealClock())
    serve_forever(LoopbackServer(lambda: Doubler(log), log), announce)
    assert lines[1] == "stopped after 0 calls"


def test_the_core_names_no_kind_of_server():
    folder = Path(rxpipe.testing.servers.core.__file__).parent
    text = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py")).lower()
    assert not [word for word in ("webui", "a1111", "sdapi", "adetailer", "comfyui") if word in text]


@pytest.mark.parametrize("answers", [False, True])
def test_calls_are_held_before_their_effect_or_after_it(server, answers):
    """Any number of them, one path only; a gate that is open keeps nothing."""
    gate = server.hold_calls("/double", answers=answers, where=lambda call: call.body["number"] == 1)
    with ThreadPoolExecutor() as pool:
        held = [pool.submit(double, server, 1), pool.submit(double, server, 1)]
        assert gate.wait_reached(times=2)
        assert double(server, 2).json()["twice"] == 4
        assert server.site.doubled == (3 if answers else 1)
        gate.release()
        assert {one.result().json()["count"] for one in held} == ({1, 2} if answers else {2, 3})
    assert double(server, 1).status_code == 200


def test_a_held_call_ends_with_its_server(server):
    gate = server.hold_calls("*")
    with ThreadPoolExecutor() as pool:
        held = pool.submit(double, server)
        assert gate.wait_reached()
        server.die()
        with pytest.raises(requests.ConnectionError):
            held.result()
