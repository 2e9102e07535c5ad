"""Which backend is opened, why, and what is said of a mistake; and what `diagnose` finds."""

import subprocess
import sys

import pytest
from loguru import logger
from stages import drawn, stage_of

from rxpipe import backends
from rxpipe.backends import diagnose, open_backend, resolve
from rxpipe.backends.base import Backend
from rxpipe.backends.kind import BackendKind
from rxpipe.config import Txt2ImgConfig
from rxpipe.errors import ConfigError
from rxpipe.testing.servers.comfyui import ComfyUIServer
from rxpipe.testing.servers.webui import WebUIServer


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    """No environment and no config file."""
    for name in ("RXPIPE_BACKEND", "RXPIPE_BACKEND_AUTH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RXPIPE_CONFIG", str(tmp_path / "config.toml"))
    return tmp_path / "config.toml"


def test_without_anything_the_embedded_one_is_taken():
    """And says why."""
    backend = open_backend(ports=(1, 2))

    assert backend.name == "sketch"
    assert (
        "(no WebUI with its API answers on 127.0.0.1:1-2, no ComfyUI answers on 127.0.0.1:1-2)" in backend.description
    )


@pytest.mark.parametrize("where", ["sketch", "embedded", "Sketch"])
def test_the_embedded_one_is_taken_by_name(where):
    """In both its names."""
    assert open_backend(where).name == "sketch"


def test_options_may_stand_behind_the_name():
    """With or without the unit in their name."""
    assert repr(open_backend("embedded:pace=0.05")) == repr(open_backend("embedded", pace_s=0.05))


@pytest.mark.parametrize(
    ("where", "url"),
    [
        ("http://127.0.0.1:7861", "http://127.0.0.1:7861"),
        ("http://localhost:7860/", "http://127.0.0.1:7860"),
        ("7862", "http://127.0.0.1:7862"),
        (":7862", "http://127.0.0.1:7862"),
        ("box.local", "http://box.local:7860"),
        ("box:9000", "http://box:9000"),
        ("https://me:pw@box.example/webui", "https://box.example/webui"),
        ("webui:7862", "http://127.0.0.1:7862"),
        ("webui://box", "http://box:7860"),
        ("webui", "http://127.0.0.1:7860"),
    ],
)
def test_an_address_is_a_webui(where, url):
    """In every form that people write; no connection is made yet."""
    backend = open_backend(where)

    assert (backend.name, backend.url) == ("webui", url)
    assert backend.description == f"WebUI at {url} (as asked for)"
    assert "pw" not in repr(backend) + backend.description


def test_the_environment_comes_before_the_config_file(monkeypatch, nothing_set):
    """And what was named comes before both."""
    nothing_set.write_text('[backend]\nurl = "http://file:1"\n', encoding="utf-8")
    assert open_backend().url == "http://file:1"
    assert str(nothing_set) in open_backend().description

    monkeypatch.setenv("RXPIPE_BACKEND", "http://env:1")
    assert open_backend().url == "http://env:1"
    assert "(from RXPIPE_BACKEND)" in open_backend("auto").description

    assert open_backend("http://named:1").url == "http://named:1"


def test_the_config_file_gives_options_and_credentials(nothing_set):
    """Its password is sent, and shown nowhere."""
    with WebUIServer(auth=("me", "pw-secret")) as server:
        nothing_set.write_text(
            f'[backend]\nurl = "{server.url}"\nuser = "me"\npassword = "pw-secret"\nstrict = true\nqueue_ahead = 1\n',
            encoding="utf-8",
        )
        with open_backend() as backend:
            output = drawn(backend, stage_of(Txt2ImgConfig(width=64, height=64), seed=41))

    assert output.seed == 41
    assert backend.queue_ahead == 1
    assert "pw-secret" not in repr(vars(backend)) + backend.description


def test_a_running_webui_is_found():
    """The first port that answers as one; another program's port is passed over."""
    with WebUIServer(api=False) as other, WebUIServer(auth=("me", "pw")) as server:
        backend = open_backend("auto", ports=(1, other.port, server.port))

    assert backend.url == server.url
    assert "(found running)" in backend.description


def test_a_webui_without_its_api_is_reported_in_the_log():
    """People see their server run and wonder."""
    lines = []
    sink = logger.add(lines.append, format="{level} {message}")
    logger.enable("rxpipe")
    with WebUIServer(api=False) as server:
        backend = open_backend(ports=(server.port, 1))
    logger.remove(sink)
    logger.disable("rxpipe")

    assert backend.name == "sketch"
    assert f"WARNING something answers at 127.0.0.1:{server.port}" in lines[0]
    assert lines[1].startswith("INFO backend: ")


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("embeded", "did you mean 'embedded'?"),
        ("http://", "allowed"),
        ("comfy", "allowed: 'auto', 'embedded'"),
        ("comfy", "kinds: embedded, webui (http, https)"),
        ("ftp://box", "kinds: embedded, webui (http, https)"),
        ("embedded:pace", "options are name=value"),
        ("sketch:pce_s=0.1", "no option 'pce_s'; did you mean 'pace_s'?"),
        ("http://box:port", "the port is not a number"),
        ("http://me:pw-secret@box:port", "the port is not a number"),
        ("me:pw-secret@", "allowed"),
    ],
)
def test_a_mistake_is_reported_with_what_is_allowed(where, message):
    """And without the password in it."""
    with pytest.raises(ConfigError) as caught:
        open_backend(where)

    assert message in str(caught.value)
    assert "pw-secret" not in str(caught.value)


def test_a_wrong_option_is_reported_with_the_nearest():
    """Before any connection."""
    with pytest.raises(ConfigError, match="no option 'strickt'; did you mean 'strict'"):
        open_backend("http://box:1", strickt=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[backend\n", "not well-formed TOML"),
        ("backend = 3\n", r"a table such as \[backend\]"),
        ("[backend]\nurl = 3\n", "backend.url: got 3"),
        ('[backend]\nurl = "embeded"\n', "did you mean 'embedded'"),
        ('[backnd]\nurl = "http://box:1"\n', "backnd.*: unknown key; did you mean 'backend'"),
        ('[backend]\nulr = "http://box:1"\n', "got .?ulr.? and no url; give url = "),
        ('[backend]\nurl = "http://box:1"\npol_s = 1\n', "no option 'pol_s'; did you mean 'poll_s'"),
    ],
)
def test_a_wrong_config_file_is_reported_by_its_path(nothing_set, text, message):
    """Which file, which field."""
    nothing_set.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        open_backend()

    assert str(nothing_set) in str(caught.value)


def test_importing_the_backends_loads_neither_http_nor_numpy():
    """Only who opens one pays for it."""
    code = (
        "import sys, rxpipe.backends; print([m for m in ('requests', 'numpy', 'urllib3', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  ours

    assert done.stdout.strip() == "[]"


def test_another_kind_is_one_line_in_the_table(monkeypatch):
    """Its name and its scheme open it, its port is probed, and mistakes name it."""

    class Another(Backend):
        name = "another"

        def __init__(self, url, *, slow=False):
            self.url, self.slow = url, slow

        def render(self, stage, source):
            raise NotImplementedError

    kind = BackendKind(
        "another", lambda: Another, schemes=("another",), default_port=8189, ports=(3,), examples=("another://host",),
        probe=lambda port, _timeout_s: "yes" if port == 3 else "no", title="another server",
    )  # fmt: skip
    monkeypatch.setattr(resolve, "KINDS", (*resolve.KINDS, kind))

    assert open_backend("another://box:1").url == "box:1"
    assert open_backend("another:8190", slow=True).slow
    assert open_backend("another").url == "8189"
    assert open_backend("http://box:1").name == "webui"
    assert open_backend(ports=(3, 2)).url == "http://127.0.0.1:3"
    with pytest.raises(
        ConfigError,
        match=r"or another://host; kinds: embedded, webui \(http, https\), comfyui \(comfyui\), .*another \(another\)",
    ):
        open_backend("ftp://box")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("diffusers:/a/b.safetensors", [{"model": "/a/b.safetensors"}]),
        (r"diffusers:C:\m\sd.safetensors", [{"model": r"C:\m\sd.safetensors"}]),
        ("diffusers:sd15?device=cpu&previews=false", [{"model": "sd15", "device": "cpu", "previews": False}]),
        ("diffusers:sd15?devices=cuda:0,cuda:1", [{"model": "sd15", "devices": "cuda:0,cuda:1"}]),
        ("diffusers:a?device=cuda:0,diffusers:b", [{"model": "a", "device": "cuda:0"}, {"model": "b"}]),
        ("diffusers:a,http://box:7860,comfyui:8188", [{"model": "a"}, {}, {}]),
    ],
)
def test_a_local_model_is_a_path_with_options_as_in_a_url(text, parts):
    """Commas of its options do not make a pool; those before another backend do."""
    spec = resolve.choose(text)
    assert [dict(one.options) for one in spec.members or (spec,)] == parts
    assert (spec.members or (spec,))[0].kind.name == "diffusers"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("diffusers:", "no model is named"),
        ("diffusers", "no model is named"),
        ("diffusers:a?device", "options are name=value"),
        ("diffusers:a?=cpu", "options are name=value"),
    ],
)
def test_a_local_model_that_is_not_named_is_said_so(text, message):
    with pytest.raises(ConfigError, match=message):
        resolve.choose(text)


# -- the port's own catalog and diagnosis -----------------------------------------------------------------------------


def test_a_backend_without_a_server_lists_nothing_and_is_well():
    """The defaults of the port."""
    backend = open_backend("sketch")

    assert backend.url is None
    assert (backend.catalog().samplers, backend.catalog().names("models")) == (None, ())
    assert (backend.diagnose().ok, backend.diagnose().reachable, backend.diagnose().url) == (True, True, "")
    assert not backend.batches


def test_an_open_backend_lists_what_its_server_has():
    """Over a connection that it has; with its credentials."""
    with WebUIServer(auth=("me", "pw")) as server, open_backend(server.url, auth="me:pw") as backend:
        assert "Euler a" in backend.catalog().names("samplers")
        assert "mediapipe_face_full" in backend.catalog().names("detectors")
        assert backend.diagnose().credentials == "accepted"
        assert server.connections == 2, "one asked which kind of server it is"
        assert backend.batches


# -- diagnose ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", ["forge", "a1111"])
def test_a_healthy_server_is_described(flavour):
    """With a trial picture, whose text tells the server's version."""
    with WebUIServer(flavour) as server:
        found = diagnose(server.url, trial=True)

    assert found.ok
    assert (found.reachable, found.api, found.kind, found.credentials) == (True, True, flavour, "not needed")
    assert "tiny-sd15" in found.models
    assert {"Euler a", "DPM++ 2M"} <= set(found.samplers)
    assert "Karras" in found.schedulers
    assert "Lanczos" in found.upscalers
    assert found.adetailer == "25.3.0"
    assert "mediapipe_face_full" in found.detectors
    assert found.progress_per_task
    assert found.trial.version == server.flavour.version
    assert found.advice == ()
    assert found.as_dict()["ok"] is True


@pytest.mark.parametrize(
    ("options", "expected", "advice"),
    [
        ({"api": False}, {"reachable": True, "api": False, "ok": False}, "--api"),
        ({"auth": ("me", "pw")}, {"credentials": "missing", "api": True, "ok": False}, "RXPIPE_BACKEND_AUTH"),
        ({"nowebui": True}, {"progress_per_task": False, "ok": True}, "--nowebui"),
        ({"adetailer": False}, {"adetailer": None, "ok": True}, "install the extension ADetailer"),
    ],
)
def test_what_is_missing_is_reported_with_what_to_do(options, expected, advice):
    """Flags, credentials, the extension."""
    with WebUIServer(**options) as server:
        found = diagnose(server.url)

    assert {name: getattr(found, name) for name in expected} == expected
    assert advice in " ".join(found.advice)


def test_accepted_and_refused_credentials_are_distinguished():
    """Accepted, refused."""
    with WebUIServer(auth=("me", "pw")) as server:
        assert diagnose(server.url, auth="me:pw").credentials == "accepted"
        assert diagnose(server.url, auth="me:wrong").credentials == "refused"


def test_no_server_is_a_finding_and_no_exception():
    """The doctor is for the ill."""
    found = diagnose("127.0.0.1:1")

    assert (found.reachable, found.ok) == (False, False)
    assert "no server answers" in found.problem
    assert backends.__all__ == ["diagnose", "open_backend"]


# -- ComfyUI ----------------------------------------------------------------------------------------------------------


def test_a_comfyui_is_recognised_by_what_answers():
    """At any address that names no kind; its own scheme needs no answer."""
    with ComfyUIServer(draw="noise") as server:
        for where in (server.url, f"127.0.0.1:{server.port}", server.port, f"comfyui://127.0.0.1:{server.port}"):
            with open_backend(where) as backend:
                assert (backend.name, backend.url) == ("comfyui", server.url)
    with open_backend("comfyui://127.0.0.1:9") as backend:
        assert backend.name == "comfyui"


def test_a_running_comfyui_is_found_on_its_port():
    with ComfyUIServer(draw="noise") as server, open_backend(ports=(server.port,)) as backend:
        assert backend.name == "comfyui"
        assert "found running" in backend.description


def test_a_pool_may_hold_a_comfyui_beside_a_webui():
    with (
        ComfyUIServer(draw="noise") as comfy,
        WebUIServer() as webui,
        open_backend(f"{comfy.url},{webui.url}") as pool,
    ):
        assert [member.name for member in pool.members] == ["comfyui", "webui"]
        assert "Euler a" in pool.catalog().names("samplers")


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({"auth": "bearer:abc-s3cret"}, "Bearer abc-s3cret"),
        ({"auth": "me:s3cret"}, "Basic bWU6czNjcmV0"),
        ({"headers": {"X-Key": "s3cret"}}, None),
        ({"headers": {"Authorization": "Token s3cret"}}, "Token s3cret"),
    ],
)
def test_credentials_go_with_every_request_and_the_socket_and_into_no_text(options, asked):
    """A proxy asks for them."""
    with ComfyUIServer(draw="noise", credentials=asked) as server:
        with open_backend(server.url, **options) as backend:
            drawn(backend, stage_of(Txt2ImgConfig(width=64, height=64, steps=2)))
            texts = f"{backend!r} {backend.description} {backend.url} {backend.diagnose()} {backend._address!r}"
        requests = server.calls
    assert any(request.path.startswith("/ws") for request in requests)
    if "X-Key" in options.get("headers", {}):
        sent = [{name.lower(): value for name, value in request.headers.items()} for request in requests]
        assert all(headers.get("x-key") == "s3cret" for headers in sent)
    assert "s3cret" not in texts


def test_a_header_that_cannot_be_sent_is_refused_without_its_value():
    with pytest.raises(ConfigError, match="X-Key") as refused:
        open_backend("comfyui://127.0.0.1:9", headers={"X-Key": "s3cret\r\nHost: other"})
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("http://a:1,", ["http://a:1"]),
        (" ,http://a:1,,http://b:2", ["http://a:1", "http://b:2"]),
        ("webui:7861,webui://b,webui", ["7861", "b", "7860"]),
        ("http://me:pa,ss@a:1,http://b:2", ["http://me:pa,ss@a:1", "http://b:2"]),
        ("http://a:1,me:pa,ss@b:2", ["http://a:1", "me:pa,ss@b:2"]),
    ],
)
def test_commas_are_between_backends_or_in_a_password(text, urls):
    """No server is left out in silence."""
    spec = resolve.choose(text)
    assert [each.url for each in spec.members or (spec,)] == urls


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://a:1,banana", "backend 'banana' (as asked for): "),
        ("http://a:1,http://", "backend 'http://' (as asked for): "),
        ("http://a:1;http://b:2", "several addresses have commas between them"),
        ("http://a:1 http://b:2", "several addresses have commas between them"),
    ],
)
def test_of_several_the_wrong_one_is_named(text, words):
    with pytest.raises(ConfigError) as caught:
        resolve.choose(text)
    assert words in str(caught.value)


@pytest.mark.parametrize("urls", ["[]", '["", ""]', '"http://a:1"', '["http://a:1", 3]', '["http://u:secret@a:1", 3]'])
def test_urls_that_are_no_list_of_addresses_are_refused_by_their_name(urls, nothing_set):
    nothing_set.write_text(f"[backend]\nurls = {urls}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"backend\.urls: got .*; allowed: a list of addresses") as caught:
        open_backend()
    assert "secret" not in str(caught.value)


def test_each_of_urls_may_hold_a_comma_in_its_password(nothing_set):
    nothing_set.write_text('[backend]\nurls = ["http://u:pa,ss@a:1", "http://b:2"]\n', encoding="utf-8")
    with open_backend() as pool:
        assert [member.url for member in pool.members] == ["http://a:1", "http://b:2"]


@pytest.mark.parametrize("kind", ["http", "comfyui"])
@pytest.mark.parametrize("value", [-1, 1.5, float("nan")])
def test_a_queue_ahead_that_is_no_count_is_refused_where_it_is_given(kind, value, nothing_set):
    """In code, and in the config file."""
    with pytest.raises(ConfigError, match=r"queue_ahead: got .*; allowed: a whole number of at least 0"):
        open_backend(f"{kind}://127.0.0.1:1", queue_ahead=value)
    nothing_set.write_text(f'[backend]\nurls = ["{kind}://127.0.0.1:1", "embedded"]\nqueue_ahead = {value}\n')
    with pytest.raises(ConfigError, match="queue_ahead"):
        open_backend()
