"""One render's course, whatever the server: a job with hooks and no server behind it."""

import threading
from contextlib import contextmanager

import pytest
from reactivex import Observable
from reactivex.disposable import Disposable
from stages import Watched

import rxpipe as rxp
from rxpipe.backends.base import Output, Preview, StepProgress
from rxpipe.backends.http.call import CallServices, Ready, RenderCall, RenderJob, Timeouts, WorkerPool
from rxpipe.rx.worker import WorkerScheduler

READY = Ready()


class Link:
    """A connection that carries nothing."""

    received = sent = 0
    transfer_s = answered_s = 0.0
    aborted = False

    def abort(self):
        self.aborted = True


class Links:
    """A pool of such connections."""

    def __init__(self):
        self.in_use = 0

    @contextmanager
    def borrowed(self):
        self.in_use += 1
        try:
            yield Link()
        finally:
            self.in_use -= 1


class Job(RenderJob):
    """A job that notes its hooks; `answer` lets its request return, `failure` is what that raises."""

    path = "/render"

    def __init__(self, ready=READY, readings=()):
        self.hooks, self.changed = [], threading.Condition()
        self.answer = threading.Event()
        self.failure, self.ready, self.resume = None, ready, None
        self.readings, self.silence, self.link = list(readings), 0.0, None

    def note(self, hook):
        with self.changed:
            self.hooks.append(hook)
            self.changed.notify_all()

    def wait_for(self, hook):
        with self.changed:
            return self.changed.wait_for(lambda: hook in self.hooks, 5)

    def prepare(self, resume):
        self.resume = resume
        self.note("prepare")
        if isinstance(self.ready, Exception):
            raise self.ready
        return self.ready

    def before_send(self, _connection):
        self.note("before_send")

    def begin(self, connection):
        self.link = connection
        self.note("begin")

    def send(self, _connection):
        self.note("send")
        assert self.answer.wait(5)
        self.link = None
        if self.failure is not None:
            raise self.failure
        return Output(b"picture")

    @property
    def connection(self):
        return self.link

    def poll(self, _connection):
        if self.readings:
            return self.readings.pop(0)
        self.note("polled")
        return None

    def observe(self, reading, _now_s):
        return StepProgress(reading), b"preview" if reading == 0.5 else None

    def is_unknown(self, reading):
        return reading == 0.9

    def note_activity(self, _now_s):
        pass

    def silent_s(self, _now_s):
        return self.silence

    def withdraw(self):
        self.note("withdraw")

    def stop(self):
        self.note("stop")
        self.answer.set()


@pytest.fixture
def services():
    """What a backend's calls share, closed after the test."""
    polls = WorkerScheduler("test-poll")
    shared = CallServices(Links(), WorkerPool("test-call"), polls, Timeouts(0.01, 1.0, 30.0, 100.0, 10.0))
    yield shared
    shared.workers.close()
    polls.close()


def watch(services, job):
    """Subscribe to a call of the job."""

    def subscribe(observer, scheduler=None):
        call = RenderCall(services, job, observer, scheduler)
        call.start()
        return Disposable(call.stop)

    return Watched(Observable(subscribe))


def test_a_render_is_its_hooks_in_order_then_a_picture(services):
    """The connection is released afterwards."""
    job = Job()
    job.answer.set()

    assert watch(services, job).output == Output(b"picture")
    assert job.hooks[:4] == ["prepare", "before_send", "begin", "send"]
    assert services.connections.in_use == 0


def test_progress_and_previews_come_on_the_subscribers_scheduler(services):
    """Equal readings once."""
    job = Job(readings=[0.25, 0.25, 0.5])
    seen = watch(services, job)
    assert job.wait_for("polled")
    job.answer.set()
    assert seen.output

    assert seen.values == [StepProgress(0.25), StepProgress(0.5), Preview(b"preview"), Output(b"picture")]
    assert seen.threads == {"test"}


def test_a_picture_that_is_there_needs_no_request(services):
    """An earlier answer brought it."""
    job = Job(Ready(lambda: Output(b"there")))

    assert watch(services, job).output == Output(b"there")
    assert job.hooks == ["prepare"]


def test_a_call_may_wait_without_thread_and_connection_and_be_resumed(services):
    """From any thread, with a request or with a picture."""
    job = Job(ready=None)
    seen = watch(services, job)
    assert job.wait_for("prepare")
    assert not seen.wait_for(lambda it: it.values or it.error, 0.05)
    assert services.connections.in_use == 0
    job.answer.set()
    job.resume(Ready())

    assert seen.output == Output(b"picture")


def test_disposing_a_call_that_waits_sends_nothing(services):
    """Not even when it is resumed in the same moment."""
    job = Job(ready=None)
    seen = watch(services, job)
    assert job.wait_for("prepare")
    seen.subscription.dispose()
    job.resume(Ready())
    assert not seen.wait_for(lambda it: it.values or it.error or it.completed, 0.05)

    assert job.hooks == ["prepare", "stop"]


def test_disposing_stops_the_job_once_and_nothing_is_emitted(services):
    """Its answer comes, and is dropped."""
    job = Job()
    seen = watch(services, job)
    assert job.wait_for("send")
    seen.subscription.dispose()
    seen.subscription.dispose()
    assert not seen.wait_for(lambda it: it.values or it.error or it.completed, 0.05)

    assert job.hooks.count("stop") == 1


@pytest.mark.parametrize("left", [False, True])
def test_a_request_that_has_not_left_when_the_call_is_disposed_never_does(services, left):
    """It was in flight already, and its thread had not come to sending it."""
    job = Job()
    seen = watch(services, job)
    assert job.wait_for("send")
    link = job.link
    link.sent += left
    seen.subscription.dispose()

    assert link.aborted == (not left)
    assert job.hooks.count("stop") == 1


@pytest.mark.parametrize("where", ["prepare", "send"])
def test_a_failure_reaches_the_subscriber_and_the_job_withdraws(where, services):
    """Whatever raises, on whichever thread."""
    failure = rxp.BackendFailed("out of memory")
    job = Job(ready=failure if where == "prepare" else Ready())
    job.failure = failure
    job.answer.set()
    with pytest.raises(rxp.BackendFailed, match="out of memory"):
        _ = watch(services, job).output

    assert "withdraw" in job.hooks
    assert "stop" not in job.hooks
    assert services.connections.in_use == 0


@pytest.mark.parametrize(
    ("silence", "reading", "message"),
    [(101.0, 0.3, r"no sign of life for 101 s \(/render\)"), (11.0, 0.9, r"does not know the job \(/render\)")],
)
def test_a_job_that_is_silent_or_unknown_for_long_is_stopped(silence, reading, message, services):
    """A timeout that says which."""
    job = Job(readings=[reading] * 100)
    job.silence = silence
    with pytest.raises(rxp.BackendTimeout, match=message):
        _ = watch(services, job).output

    assert job.hooks.count("stop") == 1


def test_after_closing_a_call_fails_and_none_hangs(services):
    """One that begins, and one that is resumed."""
    waiting = Job(ready=None)
    seen = watch(services, waiting)
    assert waiting.wait_for("prepare")
    services.workers.close()
    waiting.resume(Ready())

    for one in (seen, watch(services, Job())):
        with pytest.raises(rxp.BackendRejected, match="was closed"):
            _ = one.output
    assert "withdraw" in waiting.hooks
