"""Addresses and their credentials: one parser, and no secret in any text, file, traceback or repr."""

from __future__ import annotations

import base64
import io
import traceback

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from loguru import logger

from rxpipe.backends.base import Backend
from rxpipe.backends.http.address import Address, without_credentials
from rxpipe.backends.resolve import choose, open_spec
from rxpipe.errors import ConfigError
from rxpipe.views.gui.connection import ConnectionState
from rxpipe.views.gui.state import WindowState

SECRET = "s3cretS3CRET"  # noqa: S105  looked for in what is shown
ODD = st.text(st.sampled_from("@/:?#%[]\\ .,;ab12&=~|\u2100\uff20\ufe6b\uff1a\uff0f\t\u202e"), max_size=6)


def sent(address):
    """User and password as the server gets them."""
    return base64.b64decode(address.credentials.header().removeprefix("Basic ")).decode()


@pytest.mark.parametrize(
    ("url", "base", "credentials"),
    [
        ("http://bob:pw@host:1", "http://host:1", "bob:pw"),
        ("bob:pw@host:1", "http://host:1", "bob:pw"),
        ("http://bob:p@ss@host:1/x", "http://host:1/x", "bob:p@ss"),
        ("http://bob:12/pw@host", "http://host", "bob:12/pw"),
        ("http://bob:a?b#c@host", "http://host", "bob:a?b#c"),
        ("http://bob:a://b@host", "http://host", "bob:a://b"),
        ("bob:a://b@host", "http://host", "bob:a://b"),
        ("https://bob:p%40ss@[::1]:8", "https://[::1]:8", "bob:p@ss"),
        ("http://bob:a\uff20b@host", "http://host", "bob:a\uff20b"),
        ("HTTP://bob@host", "http://host", "bob:"),
    ],
)
def test_the_last_at_ends_a_password(url, base, credentials):
    """Whatever else is in it."""
    address = Address.parse(url)
    assert (address.base, sent(address)) == (base, credentials)


@pytest.mark.parametrize(
    "url",
    [
        f"http://bob:{SECRET}@host\u2100",
        f"http://bob:{SECRET}@ho%st",
        f"http://bob:{SECRET}@host:99999",
        f"http://bob:{SECRET}@[::1",
        f"http://bob:{SECRET}",
        f"http://bob:{SECRET}/",
        f"http://bob:{SECRET}%40host",
        f"http://bob%3A{SECRET}%40host",
        f"http://bob:{SECRET}\uff20host",
        f"http://bob\uff1a{SECRET}",
        f"http://host:x?password={SECRET}",
        f"http://host:x#{SECRET}",
        f"bob:{SECRET}",
        f"http://bob:{SECRET}@ h",
        f"http://bob:{SECRET}@a b:1",
        f"http://bob:{SECRET}@h\\x",
    ],
)
def test_a_mistake_in_an_address_prints_no_password(url):
    """Not even what would be one but for the mistake."""
    shown = []
    for parse in (Address.parse, choose):
        try:
            shown.append(repr(parse(url)))
        except ConfigError as error:
            shown += [str(error), repr(error), "".join(traceback.format_exception(error))]
    assert SECRET not in "".join(shown)


@example("sketch:", "", ("=,", "="), "")  # what looks like options of a backend without an address
@given(
    st.sampled_from(["", "http://", "https://", "HTTP://", "ftp://", "webui:", "webui://", "sketch:", "://", "//"]),
    st.sampled_from(["", "bob", "b:b", "http://b"]),
    st.tuples(ODD, ODD),
    st.sampled_from(
        ["", "h", "h:1", "h:99999", "h:x", "[::1]:1", "[::1", "h\u2100", "h%41", "h/p", "h?q=1", "h#f", " h"]
    ),
)
def test_no_secret_in_any_position_of_any_address_is_shown(tmp_path_factory, scheme, user, around, tail):
    """In no message, repr, traceback, log or file."""
    url = f"{scheme}{user}:{around[0]}{SECRET}{around[1]}@{tail}"
    path = tmp_path_factory.mktemp("state") / "gui.json"
    log = io.StringIO()
    number = logger.add(log)
    logger.enable("rxpipe")
    shown = [without_credentials(url), repr(WindowState(backend=url)), repr(ConnectionState("error", url, "x"))]
    try:
        for use in (Address.parse, choose, lambda text: open_spec(choose(text), {})):
            try:
                made = use(url)
                shown.append(repr(made))
                if isinstance(made, Backend):
                    made.close()
                    shown += [made.description, str(made.url)]
            except ConfigError as error:
                shown += [str(error), repr(error), "".join(traceback.format_exception(error))]
        WindowState(backend=url).save(path)
        path.with_suffix(".bad").write_text(f'{{"backend": ["{SECRET}"]}}')
        WindowState.load(path.with_suffix(".bad"))
    finally:
        logger.disable("rxpipe")
        logger.remove(number)
    shown += [log.getvalue(), path.read_text()]
    assert SECRET not in "\n".join(shown)


def test_a_password_of_bytes_that_are_no_utf_8_is_sent_as_it_is():
    """As an environment hands it over."""
    header = Address.parse("host", auth="bob:\udcff").credentials.header()
    assert base64.b64decode(header.removeprefix("Basic ")) == b"bob:\xff"
    with pytest.raises(ConfigError, match="the value is not shown"):
        Address.parse("host", auth="bob:\ud800")
