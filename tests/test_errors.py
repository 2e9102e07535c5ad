"""The exception tree: what each class says of retrying and of scope, and that errors survive being copied and sent."""

from __future__ import annotations

import copy
import pickle
import re
import traceback

import pytest

from rxpipe import errors
from rxpipe.errors import BackendUnavailable, ConfigError, RunFailed, RxPipeError, StageFunctionError


def all_errors():
    """Return every exception class of the module."""
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]


def made(kind):
    """Return an instance of that class."""
    return kind(["one.", "two."], hint="Try.") if kind is ConfigError else kind("It broke.", hint="Try.")


def drawn_tree():
    """Return the tree in the module's docstring: name, depth and the words after it."""
    rows = re.findall(r"^([│├└─ ]*)(\w+)(?: \((\w+)\))?( .*)?$", errors.__doc__.split("```")[1], re.MULTILINE)
    return {name: (len(indent) // 4, also, words or "") for indent, name, also, words in rows if name != "text"}


def test_the_tree_in_the_docstring_is_the_tree():
    """Every class is in the tree once, under its base, with its second base next to it."""
    drawn = drawn_tree()
    assert set(drawn) == {kind.__name__ for kind in all_errors()}
    parents = {}
    for name, (depth, also, _) in drawn.items():
        parents[depth] = name
        kind = getattr(errors, name)
        assert kind.__bases__[0].__name__ == (parents[depth - 1] if depth else "Exception")
        assert (ValueError in kind.__mro__) == (also == "ValueError")


def test_the_columns_in_the_docstring_are_facts_of_the_classes():
    """Which error can heal, and which concerns every image."""
    for name, (_, _, words) in drawn_tree().items():
        kind = getattr(errors, name)
        assert kind.retryable == ("retryable" in words), name
        if "image" in words.rpartition("  ")[2]:
            assert kind.scope == ("run" if words.endswith("every image") else "image"), name


@pytest.mark.parametrize("kind", all_errors())
def test_an_error_reads_as_what_happened_and_what_to_do(kind):
    """The hint is a sentence of its own behind the message."""
    error = made(kind)
    assert error.hint == "Try."
    assert str(error) == f"{error.message} Try."


def test_without_a_hint_the_message_stands_alone():
    """No None, no blank at the end."""
    error = RxPipeError("It broke.")
    assert (str(error), error.hint) == ("It broke.", None)


@pytest.mark.parametrize("kind", all_errors())
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])  # noqa: S301  our own bytes
def test_an_error_survives_being_copied_and_sent(kind, copied):
    """A worker process, a test runner, a future: all of them pickle errors."""
    error = made(kind)
    again = copied(error)
    assert type(again) is kind
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


def test_a_config_error_lists_its_problems_a_line_each():
    """All of them in the text, and each by itself."""
    error = ConfigError(["f.toml: txt2img.steps: got 0", "f.toml: order: got 'x'"])
    assert error.problems == ("f.toml: txt2img.steps: got 0", "f.toml: order: got 'x'")
    assert str(error) == "f.toml: txt2img.steps: got 0\nf.toml: order: got 'x'"


def test_wrong_input_is_a_value_error_for_those_who_know_nothing_of_rxpipe():
    """ConfigError, PlanError and BadImage are caught by `except ValueError`."""
    for kind in (errors.ConfigError, errors.PlanError, errors.BadImage):
        with pytest.raises(ValueError, match=r"\."):
            raise made(kind)


def test_a_busy_server_may_name_its_time():
    """None where it named none."""
    assert BackendUnavailable("busy").retry_after_s is None
    assert BackendUnavailable("busy", retry_after_s=2.5).retry_after_s == 2.5


@pytest.mark.parametrize("kind", [errors.BackendFailed, errors.BadResponse])
def test_an_error_of_one_image_may_be_retryable_once(kind):
    """Whether it is, the instance says."""
    assert kind("500", retryable=True).retryable
    assert not kind("500", retryable=False).retryable
    assert kind.once


def test_a_busy_server_concerns_one_image_and_a_server_that_is_gone_all():
    assert BackendUnavailable("503", scope="image").scope == "image"
    assert BackendUnavailable("refused").scope == "run"


def test_a_functions_error_is_retryable_where_its_cause_is():
    """The one error of which the instance decides; the class stays what it was."""
    assert StageFunctionError("timeout", retryable=True).retryable
    assert not StageFunctionError("bug").retryable
    assert not StageFunctionError.retryable


def test_a_failed_run_brings_its_result_along():
    """The handler may want the images that finished."""
    result = object()
    assert RunFailed("1 of 4", result=result).result is result


def test_an_error_steers_no_terminal():
    """Not even in a traceback, whatever a server said."""
    error = errors.BackendFailed("\x1b]0;owned\x07 \u202eabc\r\nnext", hint="\x9b31m")
    assert str(error) == r"\x1b]0;owned\x07 \u202eabc\r" + "\nnext. " + r"\x9b31m"
    assert "\x1b" not in "".join(traceback.format_exception(error))
