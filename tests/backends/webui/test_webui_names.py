"""Names looked up beforehand and compared afterwards; lists of any shape are read without surprise."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpipe.backends.catalog import CatalogItem, find, nearest
from rxpipe.backends.http.connection import Response
from rxpipe.backends.webui.names import ALL_KINDS, WebUICatalog, fetch_catalog, same_model, same_sampler, same_scheduler
from rxpipe.errors import RxPipeError
from rxpipe.testing.servers.webui.flavour import load_flavour


class Canned:
    """A connection whose every answer is known beforehand."""

    def __init__(self, answers):
        self.answers = answers

    def get(self, path, **_):
        """The answer for a path, or for all."""
        value = self.answers[path] if isinstance(self.answers, dict) and path in self.answers else self.answers
        return Response(200, json.dumps(value).encode(), 0.0)

    get_optional = get


@pytest.fixture(scope="module")
def catalog():
    """What the recorded Forge server has."""
    return fetch_catalog(
        Canned(load_flavour("forge").answers | {"/sdapi/v1/sd-models": MODELS}), ALL_KINDS[:4], timeout_s=1
    )


MODELS = [
    {
        "title": "sub/nice_v2.safetensors [f6d99fa539]",
        "model_name": "sub_nice_v2",
        "hash": "f6d99fa539",
        "sha256": None,
        "filename": "C:\\models\\sub\\nice_v2.safetensors",
    }
]


@pytest.mark.parametrize("name", ["Euler a", "euler A", "k_euler_a", "k_euler_ancestral"])
def test_samplers_answer_to_names_and_aliases(catalog, name):
    """Case does not matter to the servers either."""
    assert find(catalog.samplers, name).name == "Euler a"


@pytest.mark.parametrize(
    "name",
    ["sub_nice_v2", "sub/nice_v2.safetensors [f6d99fa539]", "sub/nice_v2.safetensors", "nice_v2", "f6d99fa539"],
)
def test_checkpoints_answer_to_title_name_file_and_hash(catalog, name):
    """The title grows a hash once the file was loaded."""
    assert find(catalog.models, name).name == "sub_nice_v2"
    assert same_model(catalog, name, "nice_v2", "f6d99fa539")
    assert same_model(WebUICatalog(), name, "nice_v2", "f6d99fa539") or name == "sub_nice_v2"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [("Eulr a", "did you mean 'Euler a'?"), ("DPM 2M++", "did you mean 'DPM++ 2M'?"), ("zzzz", "it has DPM++ 2M, ")],
)
def test_a_wrong_name_is_reported_with_the_nearest(catalog, wrong, message):
    """Or with what there is."""
    assert nearest(catalog.samplers, wrong).startswith(message)


@pytest.mark.parametrize(
    ("asked", "used", "same"),
    [
        ("Euler a", "Euler a", True),
        ("k_euler_a", "Euler a", True),
        ("DPM++ 2M Karras", "DPM++ 2M", True),
        ("Euler a", "Euler", False),
        ("nonsense", "DPM++ 2M", False),
    ],
)
def test_the_sampler_used_is_compared_with_the_one_asked_for(catalog, asked, used, same):
    """Aliases and old names with the scheduler in them are no fallback."""
    assert same_sampler(catalog, asked, used) is same
    assert same_sampler(WebUICatalog(), asked, used) is (same and asked != "k_euler_a")


@pytest.mark.parametrize(
    ("asked", "used", "same"),
    [("karras", "Karras", True), ("SGM Uniform", "SGM Uniform", True), ("Automatic", "Karras", True),
     ("Karras", "Automatic", False)],
)  # fmt: skip
def test_the_scheduler_used_is_compared_with_the_one_asked_for(catalog, asked, used, same):
    """By name or label; "automatic" allows any."""
    assert same_scheduler(catalog, asked, used) is same


def test_another_checkpoint_is_seen():
    """The servers' silent fallback."""
    assert not same_model(WebUICatalog(), "nice_v2", "tiny-sd15", "ff6c6152c8")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "label", "aliases", "title", "ad_model", "img2img", "properties"]), inner
        )
    ),
    max_leaves=10,
)


@given(answer=JSON)
def test_lists_of_any_shape_are_read_or_refused_as_ours(answer):
    """A server of another kind must not break anything."""
    try:
        found = fetch_catalog(Canned(answer), ALL_KINDS, timeout_s=1)
    except RxPipeError:
        return
    assert all(isinstance(item, CatalogItem) for item in found.samplers or ())
