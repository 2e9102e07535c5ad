"""The connection: typed errors with each kind of server's hints, credentials in no output, a connection to abort."""

import base64
import contextlib
import gzip
import logging
import mmap
import re
import socket
import threading
import time
import traceback
import tracemalloc

import pytest
from loguru import logger

from rxpipe.backends.http.address import Address, Credentials
from rxpipe.backends.http.connection import Connection
from rxpipe.backends.http.failures import ErrorHints, KnownFailure
from rxpipe.backends.http.limits import AnswerLimit
from rxpipe.backends.webui.hints import HINTS, KNOWN_TAILS
from rxpipe.errors import (
    BackendFailed,
    BackendRejected,
    BackendTimeout,
    BackendUnavailable,
    BadResponse,
    ConfigError,
)
from rxpipe.testing.servers.webui import Fault, WebUIServer

SECRET = "hunter2-secret"  # noqa: S105  a password for the test server
BASIC = base64.b64encode(f"me:{SECRET}".encode()).decode()
COMFY = ErrorHints(
    refused="Start ComfyUI with --listen.",
    failures=(KnownFailure(re.compile("OutOfMemory"), BackendFailed, "Start ComfyUI with --lowvram."),),
)
HINTS_OF = {"webui": HINTS, "another": COMFY, "none": ErrorHints()}
TXT2IMG = b'{"prompt": "a cat", "width": 64, "height": 64, "steps": 2}'


@pytest.fixture
def connection_to():
    """Makes connections that are closed after the test."""
    made = []

    def make(url, **options):
        made.append(Connection(Address.parse(url), **options))
        return made[-1]

    yield make
    for connection in made:
        connection.close()


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:7860", "http://127.0.0.1:7860"),
        ("http://localhost:7860/", "http://127.0.0.1:7860"),
        ("127.0.0.1:7860", "http://127.0.0.1:7860"),
        ("https://me:pw@box.example/webui/", "https://box.example/webui"),
        ("http://[::1]:7860/sdapi/v1", "http://[::1]:7860"),
        ("http://box:7860/docs", "http://box:7860"),
        ("http://box:7860/?__theme=dark", "http://box:7860"),
    ],
)
def test_an_address_is_brought_to_one_form(url, base):
    """`localhost` costs seconds on Windows; what people copy from the browser is cut off."""
    assert Address.parse(url, known_tails=KNOWN_TAILS).base == base


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("box", "http://box:8188"),
        ("8189", "http://127.0.0.1:8189"),
        (":8189", "http://127.0.0.1:8189"),
        ("box:1/prompt", "http://box:1"),
        ("http://box", "http://box"),
        ("https://box/comfy", "https://box/comfy"),
    ],
)
def test_a_kind_of_server_has_its_own_port_and_paths(url, base):
    """The port is that of its kind where neither scheme nor port is given."""
    assert Address.parse(url, known_tails=("/prompt",), default_port=8188).base == base


@pytest.mark.parametrize("url", ["ftp://box", "http://", f"http://me:{SECRET}@box:port", f"me:{SECRET}@:x"])
def test_what_is_no_address_is_refused_without_its_password(url):
    """The message shows what came, and no secret."""
    with pytest.raises(ConfigError) as caught:
        Address.parse(url)

    assert SECRET not in str(caught.value)
    assert "http://" in str(caught.value) or "port" in str(caught.value)


def test_credentials_come_from_url_caller_or_environment(monkeypatch):
    """In this order, and percent signs are taken back."""
    monkeypatch.setenv("RXPIPE_BACKEND_AUTH", "env:1")
    expected = {
        "http://me:p%40w@box": Credentials("me", "p@w"),
        "http://box": Credentials("env", "1"),
    }
    for url, credentials in expected.items():
        assert Address.parse(url).credentials.header() == credentials.header()
    assert Address.parse("http://box", auth="given:2").credentials.header() == Credentials("given", "2").header()


def test_auth_that_is_not_user_and_password_is_refused_unseen():
    """The value itself is not shown."""
    with pytest.raises(ConfigError) as caught:
        Address.parse("http://box", auth=SECRET)

    assert SECRET not in str(caught.value)


def test_credentials_are_sent_up_front(connection_to):
    """A1111 sends no challenge that one could wait for."""
    with WebUIServer("a1111", auth=("me", SECRET)) as server:
        connection_to(server.url.replace("//", f"//me:{SECRET}@")).get("/sdapi/v1/samplers", timeout_s=5)

        assert [call.status for call in server.calls] == [200]


@pytest.mark.parametrize("fault", [None, Fault.RESET, Fault.RESET_MID_BODY, Fault.SHORT_BODY, Fault.GENERIC])
def test_credentials_appear_in_no_error_log_or_traceback(connection_to, fault):
    """Not even where a logger prints every local variable of every frame, as loguru's diagnose does."""
    lines = []
    sink = logger.add(lines.append, diagnose=True, backtrace=True, level=0)
    logger.enable("rxpipe")
    logging.getLogger("urllib3").setLevel(logging.DEBUG)
    with WebUIServer(auth=("me", "another" if fault is None else SECRET)) as server:
        connection = connection_to(server.url.replace("//", f"//me:{SECRET}@"))
        if fault is not None:
            server.fault("txt2img", fault)
        try:
            connection.post("/sdapi/v1/txt2img", TXT2IMG, timeout_s=5)
        except Exception as error:  # noqa: BLE001  whatever it is, it is what a user would log
            logger.exception("failed")
            seen = traceback.TracebackException.from_exception(error, capture_locals=True)
            lines += [*seen.format(), repr(error), str(vars(error))]
    logger.remove(sink)
    logger.disable("rxpipe")
    logging.getLogger("urllib3").setLevel(logging.NOTSET)

    output = "".join(str(part) for part in lines)
    assert "failed" in output
    assert SECRET not in output
    assert BASIC not in output
    assert SECRET not in repr(connection.__dict__)


REFUSALS = [
    (Fault.UNAUTHORIZED, BackendRejected, "answered 401", "RXPIPE_BACKEND_AUTH"),
    (Fault.NO_API, BackendRejected, "answered 404", "--api"),
    (Fault.UNPROCESSABLE, BackendRejected, "Script 'ADetailer' not found", "setting"),
    (Fault.TOO_MANY_REQUESTS, BackendUnavailable, "answered 429", "busy"),
    (Fault.BAD_GATEWAY, BackendUnavailable, "answered 502", "busy"),
    (Fault.UNAVAILABLE, BackendUnavailable, "answered 503", "busy"),
    (Fault.GATEWAY_TIMEOUT, BackendUnavailable, "answered 504", "busy"),
    (Fault.HTML_PAGE, BackendUnavailable, "502 Bad Gateway", "busy"),
    (Fault.OUT_OF_MEMORY, BackendFailed, "OutOfMemoryError: CUDA out of memory", "Lower the size"),
    (Fault.NAN, BackendFailed, "NansException: A tensor with all NaNs", "--no-half-vae"),
    (Fault.BAD_INPUT, BackendFailed, "Invalid encoded image", "input picture"),
    (Fault.GENERIC, BackendFailed, "RuntimeError: Expected all tensors", "console"),
    (Fault.RESET, BackendUnavailable, "the connection broke", "crashed or restarted"),
    (Fault.RESET_MID_BODY, BackendUnavailable, "the connection broke", "crashed or restarted"),
    (Fault.SHORT_BODY, BackendUnavailable, "the connection broke", "crashed or restarted"),
    (Fault.NEVER, BackendTimeout, "no answer in 0.", None),
]


OTHER_HINTS = {Fault.NO_API: None, Fault.NAN: "console", Fault.BAD_INPUT: "console", Fault.OUT_OF_MEMORY: "console"}


@pytest.mark.sampled(20)
@pytest.mark.parametrize("flavour", ["forge", "a1111"])
@pytest.mark.parametrize("kind_of_server", HINTS_OF)
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal[0].name)
def test_every_failure_is_a_typed_error_that_says_what_to_do(flavour, kind_of_server, refusal, connection_to):
    """What came, what was asked where, and what to try in the terms of the server; in the words of both servers."""
    fault, kind, message, hint = refusal
    if kind_of_server != "webui":
        hint = OTHER_HINTS.get(fault, hint)
    if (kind_of_server, fault) == ("another", Fault.OUT_OF_MEMORY):
        hint = "--lowvram"
    with WebUIServer(flavour) as server:
        server.fault("txt2img", fault)
        with pytest.raises(kind) as caught:
            connection_to(server.url, hints=HINTS_OF[kind_of_server]).post("/sdapi/v1/txt2img", TXT2IMG, timeout_s=0.3)

    error = caught.value
    assert type(error) is kind
    assert error.message.endswith(f" (POST /sdapi/v1/txt2img at {server.url}).")
    assert message in error.message
    assert error.hint is None if hint is None else hint in error.hint


def test_retry_after_travels_with_the_error(connection_to, webui_server):
    """So that the pause before the next attempt is the server's."""
    webui_server.fault("txt2img", Fault.UNAVAILABLE.but(retry_after_s=7))
    with pytest.raises(BackendUnavailable) as caught:
        connection_to(webui_server.url).post("/sdapi/v1/txt2img", TXT2IMG, timeout_s=5)

    assert caught.value.retry_after_s == 7


@pytest.mark.parametrize(
    ("kind_of_server", "hint"), [("webui", "--api"), ("another", "--listen"), ("none", "Start the server")]
)
def test_no_server_is_reported_with_what_to_start(kind_of_server, hint, connection_to, webui_server):
    """The commonest failure of all."""
    webui_server.go_down()
    with pytest.raises(BackendUnavailable) as caught:
        connection_to(webui_server.url, hints=HINTS_OF[kind_of_server]).get("/sdapi/v1/samplers", timeout_s=5)

    assert caught.value.message == (
        f"no server answers at {webui_server.url} (connection refused) (GET /sdapi/v1/samplers)."
    )
    assert hint in caught.value.hint
    assert str(caught.value).startswith(f"no server answers at {webui_server.url} (connection refused). ")
    assert str(caught.value).endswith(" (GET /sdapi/v1/samplers)")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind_of_server", ["webui", "another"])
@pytest.mark.slow
def test_an_unknown_host_and_a_wrong_scheme_are_called_by_name(kind_of_server, connection_to, webui_server):
    """Neither is a server that crashed."""
    hints = HINTS_OF[kind_of_server]
    with pytest.raises(BackendUnavailable, match=r"^the host 'no-such-host\.invalid' is unknown "):
        connection_to("http://no-such-host.invalid:7860", hints=hints).get("/x", timeout_s=5)
    secure = webui_server.url.replace("http:", "https:")
    with pytest.raises(BackendUnavailable, match="speaks http, not https") as caught:
        connection_to(secure, hints=hints).get("/x", timeout_s=5)
    assert caught.value.hint == f"Give {webui_server.url} as its address."


def test_after_a_failure_of_the_server_its_connection_is_not_used_again(connection_to, webui_server):
    """Forge ends it without saying so."""
    connection = connection_to(webui_server.url)
    webui_server.fault("txt2img", Fault.GENERIC)
    with pytest.raises(BackendFailed):
        connection.post("/sdapi/v1/txt2img", TXT2IMG, timeout_s=5)
    assert connection.post("/sdapi/v1/interrupt", timeout_s=5).status == 200
    assert webui_server.connections == 2


def test_a_get_on_a_kept_connection_that_breaks_is_repeated_once(connection_to, webui_server):
    """A post is not: it may have been begun."""
    connection = connection_to(webui_server.url)
    connection.get("/sdapi/v1/samplers", timeout_s=5)
    webui_server.fault("samplers", Fault.RESET)
    assert connection.get("/sdapi/v1/samplers", timeout_s=5).status == 200
    webui_server.fault("samplers", Fault.RESET, times=2)
    with pytest.raises(BackendUnavailable):
        connection.get("/sdapi/v1/samplers", timeout_s=5)
    webui_server.fault("txt2img", Fault.RESET)
    with pytest.raises(BackendUnavailable):
        connection.post("/sdapi/v1/txt2img", TXT2IMG, timeout_s=5)


def test_wrong_fields_are_reported_by_name(connection_to, webui_server):
    """FastAPI's list, in one line."""
    with pytest.raises(BackendRejected, match=r"answered 422 after .* steps: Input should be a valid integer"):
        connection_to(webui_server.url).post("/sdapi/v1/txt2img", b'{"steps": "many"}', timeout_s=5)


def test_a_path_that_a_server_lacks_is_none_where_it_is_optional(connection_to, webui_server):
    """And the same error as ever where it is not, or for any other refusal."""
    connection = connection_to(webui_server.url, hints=HINTS)
    assert connection.get_optional("/sdapi/v1/samplers", timeout_s=5).status == 200
    assert connection.get_optional("/nowhere", timeout_s=5) is None
    with pytest.raises(BackendRejected, match="answered 404"):
        connection.get("/nowhere", timeout_s=5)
    webui_server.fault("samplers", Fault.UNAUTHORIZED)
    with pytest.raises(BackendRejected, match="answered 401"):
        connection.get_optional("/sdapi/v1/samplers", timeout_s=5)


def test_a_connection_is_kept_alive(connection_to, webui_server):
    """A new one costs a round trip, and seconds on some systems."""
    connection = connection_to(webui_server.url)
    for _ in range(3):
        connection.get("/sdapi/v1/samplers", timeout_s=5)

    assert webui_server.connections == 1


def test_answers_are_asked_for_uncompressed(connection_to, webui_server):
    """Compressing base64 costs the server more than the wire saves."""
    connection_to(webui_server.url).get("/sdapi/v1/samplers", timeout_s=5)

    assert webui_server.calls[0].headers["accept-encoding"] == "identity"


def test_hanging_up_frees_a_thread_that_waits_for_an_answer(connection_to, webui_server):
    """From another thread; the server never answers."""
    webui_server.fault("txt2img", Fault.NEVER)
    connection = connection_to(webui_server.url)
    errors = []

    def wait():
        try:
            connection.post("/sdapi/v1/txt2img", TXT2IMG, timeout_s=None)
        except BackendUnavailable as error:
            errors.append(error.message)

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert webui_server.wait_calls("txt2img")
    connection.abort()
    waiting.join(5)

    assert "aborted on our side" in errors[0]


def test_nothing_is_sent_over_an_aborted_connection(connection_to, webui_server):
    """A cancel that came before the request went out."""
    connection = connection_to(webui_server.url)
    connection.abort()
    with pytest.raises(BackendUnavailable, match="aborted"):
        connection.post("/sdapi/v1/txt2img", TXT2IMG, timeout_s=5)

    assert webui_server.calls == ()


def test_a_request_counts_as_sent_when_its_last_byte_was_written(connection_to, webui_server):
    """Before its answer, and not before its end: the server reads only when it is allowed to."""
    connection = connection_to(webui_server.url)
    assert connection.get("/sdapi/v1/samplers", timeout_s=5)
    assert connection.sent == 1
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow = connection_to(f"http://127.0.0.1:{listening.getsockname()[1]}")
        errors = []

        def send():
            try:
                slow.post("/sdapi/v1/img2img", bytes(1 << 25), timeout_s=None)
            except BackendUnavailable as error:
                errors.append(error.message)

        sending = threading.Thread(target=send)
        sending.start()
        peer, _ = listening.accept()
        assert peer.recv(16)
        assert slow.sent == 0
        slow.abort()
        sending.join(5)
        peer.close()
    assert "aborted on our side" in errors[0]
    assert slow.sent == 0


@pytest.mark.parametrize("path", ["/sdapi/v1/samplers", "/internal/progress", "/sdapi/v1/progress"])
@pytest.mark.parametrize("fault", [Fault.ENDLESS_BODY, Fault.GZIP_BOMB])
def test_no_answer_is_read_beyond_its_limit(fault, path, connection_to, webui_server):
    """Counted after decompression and while it comes; the connection that brought it is not used again."""
    webui_server.fault("*", fault)
    connection = connection_to(webui_server.url)
    tracemalloc.start()
    try:
        with pytest.raises(BadResponse, match=r"larger than 16 MiB, the most that was asked for.*\(GET /") as caught:
            connection.get(path, timeout_s=5)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert most < 60 << 20
    assert caught.value.once, "another one of that size is not read"
    assert connection.get("/sdapi/v1/samplers", timeout_s=5).status == 200
    assert webui_server.connections == 2


def test_a_length_beyond_the_limit_is_refused_before_a_byte_is_read(connection_to, webui_server):
    with pytest.raises(BadResponse, match="larger than 0 MiB"):
        connection_to(webui_server.url).send("GET", "/sdapi/v1/samplers", timeout_s=5, limit=AnswerLimit(most_bytes=10))


def test_a_body_of_one_byte_at_a_time_has_a_deadline(connection_to, webui_server):
    """Each byte comes in time, the answer does not."""
    webui_server.fault("samplers", Fault.BYTE_BY_BYTE.but(seconds=0.02))
    connection = connection_to(webui_server.url)
    begin = time.monotonic()
    with pytest.raises(BackendTimeout, match="the answer was not complete after"):
        connection.get("/sdapi/v1/samplers", timeout_s=0.1)

    assert time.monotonic() - begin < 2.0
    assert connection.get("/sdapi/v1/samplers", timeout_s=5).status == 200


@pytest.mark.slow
def test_an_answer_without_end_has_a_deadline_where_the_work_has_none(connection_to, webui_server):
    webui_server.fault("txt2img", Fault.BYTE_BY_BYTE.but(seconds=0.02))
    with pytest.raises(BackendTimeout, match="the answer was not complete after"):
        connection_to(webui_server.url).post(
            "/sdapi/v1/txt2img", TXT2IMG, timeout_s=None, limit=AnswerLimit.of_pictures(1, 64 * 64, body_s=0.2)
        )


def raw_server(answer, serve_on=b""):
    """A socket that gives each connection *answer*, then *serve_on* every 10 ms; for what no HTTP server sends."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), connection:
                connection.recv(65536)
                connection.sendall(answer)
                while serve_on:
                    connection.sendall(serve_on)
                    threading.Event().wait(0.01)

    threading.Thread(target=serve, daemon=True).start()
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "serve_on"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    ],
    ids=["head", "body without length", "continue", "trailer"],
)
def test_no_part_of_an_answer_is_waited_for_without_end(answer, serve_on, connection_to):
    listener, url = raw_server(answer, serve_on)
    with listener, pytest.raises(BackendTimeout, match="the answer was not complete after"):
        connection_to(url).exchange("GET", "/", timeout_s=60, limit=AnswerLimit(whole_s=0.2))


@pytest.mark.parametrize("status", [b"302 Found\r\nLocation: /else", b"500 Error", b"200 OK"])
def test_the_body_of_a_redirect_or_an_error_has_a_limit_too(status, connection_to):
    """Requests reads that of a redirect by itself, to follow it."""
    listener, url = raw_server(b"HTTP/1.1 " + status + b"\r\n\r\n" + b"x" * (20 << 20))
    with listener, pytest.raises(BadResponse, match="larger than 16 MiB"):
        connection_to(url).get("/", timeout_s=5)


@pytest.mark.parametrize(
    ("location", "hint"),
    [
        ("https://other:7860/api/x?token=abc", "It has moved to https://other:7860/api: give that address."),
        ("https://bob:s3cret@other/x", "It has moved to https://other: give that address."),
        ("file:///etc/passwd", "check host and port"),
        ("/x", "check host and port"),
        ("//other/x", "check host and port"),
        ("http://" + "a" * 9999, "aaa...: give that address"),
    ],
)
def test_only_another_server_is_advised_where_an_answer_sends_us_on(location, hint, connection_to):
    """Nothing is followed, and neither a file nor the same path is an address to give."""
    listener, url = raw_server(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())
    with listener, pytest.raises(BackendRejected) as caught:
        connection_to(url).get("/x?a=b", timeout_s=5)
    assert hint in caught.value.hint
    assert len(str(caught.value)) < 400
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "x" * 99])
def test_an_encoding_that_was_not_asked_for_is_reported(encoding, connection_to):
    answer = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: 2\r\n\r\n{{}}"
    listener, url = raw_server(answer.encode())
    with listener, pytest.raises(BadResponse, match="which was not asked for"):
        connection_to(url).get("/", timeout_s=5)


@pytest.mark.parametrize(
    ("packed", "message"),
    [(b"no gzip", "cannot be decompressed"), (gzip.compress(b"{}" * 99, mtime=0)[:-9], "cut off")],
)
def test_a_broken_compression_is_reported(packed, message, connection_to):
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    listener, url = raw_server(head.encode() + packed)
    with listener, pytest.raises(BadResponse, match=message):
        connection_to(url).get("/", timeout_s=5)


def test_a_compressed_answer_is_read(connection_to):
    packed = gzip.compress(b'{"a": 1}')
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    listener, url = raw_server(head.encode() + packed)
    with listener:
        assert connection_to(url).get("/", timeout_s=5).json() == {"a": 1}


def test_a_limit_grows_with_what_is_asked_for():
    small, large = AnswerLimit.of_pictures(1, 64 * 64), AnswerLimit.of_pictures(4, 2048 * 2048)
    noise = 4 * 2048 * 2048 * 4 * 4 // 3
    assert small.most_bytes < 20 << 20 < noise < large.most_bytes < 300 << 20
    assert small.body_s < 63 < large.body_s
    assert AnswerLimit.small(10.0).whole_s == 40.0


@pytest.mark.parametrize("fault", [Fault.TRUNCATED_JSON, Fault.EMPTY_BODY])
def test_a_torn_body_is_reported_when_it_is_read(fault, connection_to, webui_server):
    """A 200 whose JSON breaks off."""
    webui_server.fault("samplers", fault)
    reply = connection_to(webui_server.url).get("/sdapi/v1/samplers", timeout_s=5)

    with pytest.raises(BadResponse, match="the answer is not JSON"):
        reply.json()


@pytest.mark.parametrize(("blocks", "kind"), [(200, bytes), (300, bytearray), (8 << 10, mmap.mmap)])
def test_an_answer_of_a_known_size_is_read_whole_and_a_torn_one_reported(connection_to, blocks, kind):
    """A large one straight to its place, a very large one into pages of its own."""
    sent = bytes(range(256)) * blocks
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(sent)
    listener, url = raw_server(head + sent)
    with listener:
        answer = connection_to(url).get("/", timeout_s=5)
    assert type(answer.content) is kind
    assert answer.body == sent
    listener, url = raw_server(head + sent[: len(sent) // 2])
    with listener, pytest.raises(BackendUnavailable, match="the connection broke"):
        connection_to(url).get("/", timeout_s=5)
