"""Any chain, any failure at any call, any moment of cancel: the timeline obeys the grammar, the result is its fold."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from reactivex import Observable
from reactivex.disposable import CompositeDisposable, Disposable

import rxpipe as rxp
from rxpipe.errors import BackendFailed, BackendRejected, BackendTimeout, BackendUnavailable, BadResponse
from rxpipe.testing import Marbles, ScriptedBackend

ERRORS = [
    BackendFailed("out of memory"),
    BackendUnavailable("refused"),
    BackendTimeout("no answer"),
    BackendRejected("401"),
    BadResponse("no image"),
    ValueError("a backend's bug"),
]
SCRIPTS = ["o|", "--o|", "-s-s-o|", "-p-o|", "u|", "-u|", "#", "-s#", "-s-s#", "|", "-o-o|", "-----", "-l-q-so|"]


@rxp.image_stage(on_error="pass")
def sometimes(artifact, every):
    if artifact.number % every == 0:
        raise RuntimeError("every so often")
    return artifact.with_metadata(seen=True)


def middle_stages():
    """Draw a stage of any kind that may follow the first."""
    on_error = st.sampled_from(["drop", "pass", "stop"])
    return st.one_of(
        st.builds(lambda e: rxp.img2img(on_error=e), on_error),
        st.builds(lambda e: rxp.adetailer(on_error=e), on_error),
        st.builds(lambda e: rxp.upscale(on_error=e), on_error),
        st.builds(sometimes, st.integers(1, 3)),
        st.builds(lambda n: rxp.keep_if(lambda artifact: artifact.number % n), st.integers(2, 3)),
        st.builds(lambda n: rxp.keep_best(n, by=lambda artifact: -artifact.number), st.integers(1, 2)),
        st.builds(lambda n: rxp.expand(lambda artifact: [artifact] * n), st.integers(0, 2)),
    )


chains = st.builds(
    lambda images, middle, order, streak: rxp.chain(
        rxp.txt2img(prompt="a", images=images, seed=1),
        *middle,
        order=order,
        out=None,
        max_failures_in_a_row=streak,
        timeout_s=0.02,
        retry=rxp.RetryConfig(attempts=2, first_delay_s=0.003, jitter=0),
    ),
    st.integers(1, 4),
    st.lists(middle_stages(), max_size=4),
    st.sampled_from(["stage", "image", "auto"]),
    st.integers(1, 3),
)
scripts = st.dictionaries(
    st.sampled_from(["txt2img", "img2img", "adetailer", "upscale"]), st.lists(st.sampled_from(SCRIPTS), min_size=1)
)
failures = st.dictionaries(st.sampled_from(["txt2img", "img2img", "adetailer", "upscale"]), st.sampled_from(ERRORS))


def check_grammar(events, *, in_order=True):
    """`RunStart { stage } RunEnd`, and each stage `StageStart { step, retry, image } terminal`."""
    assert [e.seq for e in events] == list(range(len(events)))
    assert all(a.timestamp <= b.timestamp for a, b in itertools.pairwise(events))
    assert isinstance(events[0], rxp.RunStart)
    assert isinstance(events[-1], rxp.RunEnd)
    assert not any(isinstance(e, rxp.RunStart | rxp.RunEnd) for e in events[1:-1])
    for index in {e.stage_index for e in events[1:-1]}:
        check_stage([e for e in events[1:-1] if e.stage_index == index], in_order)


def check_stage(events, in_order):
    """Check for one start first, one terminal last, a constant total, indices in order, fractions that never fall."""
    assert isinstance(events[0], rxp.StageStart)
    assert isinstance(events[-1], rxp.StageEnd | rxp.StageFailed | rxp.StageCancelled)
    assert all(isinstance(e, rxp.StageStep | rxp.StageRetry | rxp.StageImageProgress) for e in events[1:-1])
    assert len({e.total_images for e in events}) == 1
    indices = [e.image_index for e in events if isinstance(e, rxp.StageImageProgress)]
    assert indices == sorted(indices) or not in_order
    for index in set(indices):
        emitted = [e.fraction for e in events if isinstance(e, rxp.StageStep) and e.image_index == index]
        known = [fraction for fraction in emitted if fraction is not None]
        assert known == sorted(known)
    if isinstance(events[-1], rxp.StageEnd):
        end = events[-1]
        outcomes = [e.outcome for e in events if isinstance(e, rxp.StageImageProgress)]
        assert [end.done, end.passed, end.failed, end.cancelled] == [
            outcomes.count(outcome) for outcome in ("done", "passed", "failed", "cancelled")
        ]


def check_result(result, live):
    """Check that the result is the fold of the events, and that its counts add up."""
    assert result.events == tuple(live)
    assert rxp.PipelineRunResult.from_events(live, result.plan) == result
    tally = result.tally
    assert tally.pending == 0
    assert tally.planned == tally.done + tally.failed + tally.cancelled + tally.filtered
    assert tally.planned >= live[0].images
    if result.status == "completed":
        assert not tally.failed
        assert not tally.cancelled
    if result.status == "partial":
        assert tally.done
    if result.status in {"failed", "partial"} and tally.failed:
        assert result.error is not None
    text = "".join(event.model_dump_json() + "\n" for event in live)
    assert [rxp.parse_event(line) for line in text.splitlines()] == list(live)


def check_fraction(live):
    """Check that the fraction never falls and is 1.0 only of a completed run."""
    status, before = rxp.RunStatus(), 0.0
    for event in live:
        status = rxp.reduce_status(status, event)
        assert before <= status.fraction <= 1.0
        assert (status.fraction == 1.0) == (status.state == "completed")
        before = status.fraction


class Counting(ScriptedBackend):
    """Counts its calls that are open."""

    open = most = 0

    def render(self, stage, source):
        called = super().render(stage, source)

        def subscribe(observer, scheduler=None):
            self.open += 1
            self.most = max(self.most, self.open)
            over = Disposable(lambda: setattr(self, "open", self.open - 1))

            def ended(notify):
                over.dispose()
                notify()

            inner = called.subscribe(
                observer.on_next,
                lambda error: ended(lambda: observer.on_error(error)),
                lambda: ended(observer.on_completed),
                scheduler=scheduler,
            )
            return CompositeDisposable(over, inner)

        return Observable(subscribe)


moments = st.tuples(*[st.none() | st.integers(0, most) for most in (120, 60, 60)])
slots = st.just((1, 0)) | st.tuples(st.integers(1, 8), st.integers(0, 2))


@given(chains, scripts, failures, moments, slots)
def test_every_run_obeys_the_grammar(chain, script, errors, moments, slots):
    """Nothing that a backend, a function or a user does can break it, with 1 to 10 images in progress."""
    (cancel_ms, skip_ms, stop_ms), (capacity, queue_ahead) = moments, slots
    begun = []
    with Marbles(verify=False) as marbles:
        backend = Counting(marbles, script, errors=errors, capacity=capacity, queue_ahead=queue_ahead)
        executor = rxp.PipelineExecutor(backend, scheduler=marbles.clock)
        live = []
        executor.events.subscribe(live.append)
        run = executor.start(chain)
        if skip_ms is not None:
            marbles.at(skip_ms * 1000, lambda *_: run.skip_image())
        if stop_ms is not None:
            marbles.at(stop_ms * 1000, lambda *_: run.stop_after_image())
        if cancel_ms is not None:
            marbles.at(cancel_ms * 1000, lambda *_: (run.cancel(), begun.append(len(backend.calls))))
        marbles.run()
        assert run.done
        assert executor.active is None
        assert begun in ([], [len(backend.calls)])
        for stage in {call.stage_type for call in backend.calls}:
            assert all(entry.off_us is not None for entry in backend[stage].subscriptions.entries)
        assert backend.most <= capacity + queue_ahead
        marbles.clock.advance_by("1s")
        assert begun in ([], [len(backend.calls)])
    check_grammar(live, in_order=capacity == 1)
    check_result(run.result, live)
    check_fraction(live)
