"""The members of a pool: what they may be, how they are asked, and what becomes of one that is broken."""

from __future__ import annotations

import threading

import pytest
import reactivex as rx
from test_pool import FRAME_S, Member, play, servers

import rxpipe as rxp
from rxpipe import threads
from rxpipe.backends.catalog import Catalog, CatalogItem
from rxpipe.backends.diagnosis import Diagnosis
from rxpipe.backends.pool import PoolBackend
from rxpipe.errors import BackendFailed, BackendRejected, BackendUnavailable, ConfigError
from rxpipe.testing import WebUIServer


class Broken(Member):
    """A member whose `render` does what *render* does."""

    def __init__(self, harness, render, where="broken"):
        super().__init__(harness, where)
        self._render, self.render_calls = render, 0

    def render(self, *_):
        self.render_calls += 1
        return self._render()


def _raise():
    raise ValueError("a fault of its own")


BROKEN = {
    "raises": (_raise, "a fault of its own"),
    "returns no observable": (lambda: 5, "render returned a int"),
    "fails before it returns": (lambda: rx.throw(BackendFailed("at once")), "at once"),
    "emits nothing": (rx.empty, "no picture"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_member_that_is_broken_costs_no_image_where_another_is_not(marbles, name):
    """It rests as others that fail do, and its images are drawn at once by the other."""
    broken = Broken(marbles, BROKEN[name][0])
    run, took_s = play(marbles, [broken, Member(marbles, "fine")])
    assert run.result.success
    assert {record.server for record in run.result.records} == {"http://fine"}
    assert took_s == pytest.approx(8 * 5 * FRAME_S, abs=0.002)
    assert broken.render_calls == 2


@pytest.mark.parametrize("name", BROKEN)
def test_where_every_member_is_broken_the_run_ends_and_says_why(marbles, name):
    run, _ = play(marbles, [Broken(marbles, BROKEN[name][0], n) for n in range(2)])
    assert run.result.status == "failed"
    assert BROKEN[name][1] in str(run.result.error)


@pytest.mark.parametrize("last", [BackendUnavailable("refused."), BackendRejected("401.")])
def test_an_image_that_one_member_fails_at_ends_no_run_because_another_is_gone(marbles, last):
    """The first fails at the third image only; the other at all, with what concerns a whole run."""
    scripts = {"txt2img": ["----o|", "----o|", "----#", "----o|"]}
    one = Member(marbles, "one", scripts, errors={"txt2img": BackendFailed("NaN.")})
    gone = Member(marbles, "gone", {"txt2img": "----#"}, errors={"txt2img": last})
    run, _ = play(marbles, [one, gone])
    assert run.result.status == "partial"
    assert run.result.tally.done == 7
    assert [record.error.message for record in run.result.records if record.error] == ["NaN."]


def test_a_pool_within_a_pool_is_its_members(marbles):
    """Each image says which server rendered it, and a member that fails rests alone."""
    inner = PoolBackend([Member(marbles, "b"), Member(marbles, "c")])
    pool = PoolBackend([Member(marbles, "a"), inner])
    assert [member.url for member in pool.members] == ["http://a", "http://b", "http://c"]
    run, _ = play(marbles, [Member(marbles, "a"), inner])
    assert set(servers(run).values()) == {"http://a", "http://b", "http://c"}


def test_a_backend_of_several_within_a_pool_says_itself_which_rendered(marbles):
    class Several(PoolBackend):
        """More than a pool."""

    run, _ = play(marbles, [Member(marbles, "a"), Several([Member(marbles, "b"), Member(marbles, "c")])])
    assert set(servers(run).values()) == {"http://a", "http://b", "http://c"}


@pytest.mark.parametrize("other", ["http://h:7860/", "h:7860", "HTTP://h:7860", "http://u:p@h:7860", "webui://h:7860"])
def test_one_server_twice_is_refused_however_it_is_written(other):
    """Two members at one server would stop each other's pictures."""
    with pytest.raises(ConfigError, match="got http://h:7860 twice"):
        rxp.open_backend(f"http://h:7860,{other}")


def test_two_backends_without_a_server_are_two():
    with rxp.open_backend("embedded,embedded") as pool:
        assert len(pool.members) == 2


def test_what_is_no_backend_is_no_member():
    with pytest.raises(ConfigError, match="got 'http://a'"):
        PoolBackend(["http://a"])


@pytest.mark.parametrize("name", ["capacity", "queue_ahead"])
@pytest.mark.parametrize("value", [-1, 1.5, "two", True, None, float("nan")])
@pytest.mark.parametrize("in_pool", [False, True])
@pytest.mark.sampled(3)
def test_a_capacity_that_is_no_such_number_is_refused_before_anything_runs(marbles, name, value, in_pool):
    backend = Member(marbles, "one")
    setattr(backend, name, value)
    with pytest.raises(ConfigError, match=f"backend scripted: {name}: got .*; allowed: a whole number of at least"):
        rxp.PipelineExecutor(PoolBackend([backend]) if in_pool else backend, scheduler=marbles.clock).start(
            rxp.chain(rxp.txt2img(prompt="a"), out=None)
        )


@pytest.mark.parametrize("value", [0, "two"])
def test_a_capacity_that_becomes_no_such_number_ends_the_run_with_its_error(marbles, value):
    backend = Member(marbles, "one")
    executor = rxp.PipelineExecutor(backend, scheduler=marbles.clock)
    executor.events.subscribe(
        lambda event: setattr(backend, "capacity", value) if event.kind == "stage_image_progress" else None
    )
    run = executor.start(rxp.chain(rxp.txt2img(prompt="a", images=4), out=None))
    marbles.run()
    assert run.result.status == "failed"
    assert "capacity: got" in str(run.result.error)


def test_a_capacity_that_grows_and_shrinks_is_followed(marbles):
    """From the next image on; those that have begun finish."""
    backend = Member(marbles, "one", capacity=2)
    executor = rxp.PipelineExecutor(backend, scheduler=marbles.clock)
    run = executor.start(rxp.chain(rxp.txt2img(prompt="a", images=12), out=None))
    marbles.clock.advance_by("2ms")
    begun = [len(backend.calls)]
    for capacity in (4, 1, 1):
        backend.capacity = capacity
        marbles.clock.advance_by("5ms")
        begun.append(len(backend.calls))
    marbles.run()
    assert run.result.success
    assert begun == [2, 6, 7, 8]


class Silent(Member):
    """Members that answer `check`, `catalog` and `diagnose` once all of them were asked."""

    barrier: threading.Barrier

    def check(self, _):
        self.barrier.wait(10)
        return ()

    def catalog(self):
        self.barrier.wait(10)
        return super().catalog()

    def diagnose(self, *, trial=False):
        assert not trial
        self.barrier.wait(10)
        return Diagnosis(self.url, problem=None if self.lacks else "gone.", models=self.lacks, advice=("Start it.",))


def test_all_members_are_asked_at_the_same_time(marbles):
    """Those that do not answer take no longer than one of them; nobody answers before all were asked."""
    marbles.allow_threads()
    threads.ENABLED, before = True, threads.ENABLED
    try:
        members = [Silent(marbles, n, lacks=("sd15",) if n else ()) for n in range(3)]
        barrier = threading.Barrier(3)
        for member in members:
            member.barrier = barrier
        pool = PoolBackend(members)
        assert (
            pool.check(rxp.build_stage_execution_plan(rxp.PipelineConfig(txt2img=rxp.Txt2ImgConfig(prompt="a")))) == []
        )
        assert pool.catalog().names("models") == ("sd15", "http://0", "http://1", "http://2")
        found = pool.diagnose()
    finally:
        threads.ENABLED = before
    assert (found.ok, found.url, found.models) == (True, "http://0,http://1,http://2", ("sd15",))
    assert found.advice == ("http://0: gone.", "http://0: Start it.", "http://1: Start it.", "http://2: Start it.")


def test_a_pool_of_which_nobody_is_there_is_not_ready(marbles):
    members = [Silent(marbles, n) for n in range(2)]
    for member in members:
        member.barrier = threading.Barrier(1)
    found = PoolBackend(members).diagnose()
    assert (found.ok, found.problem) == (False, "http://0: gone.; http://1: gone.")


class Lacking(Member):
    """A member that refuses a kind of stage."""

    def check(self, plan):
        if any(stage.stage_type == "upscale" for stage in plan.stages):
            raise BackendRejected("no upscaler.")
        return super().check(plan)


@pytest.mark.parametrize("order", ["stage", "image", "auto"])
def test_each_value_of_a_sweep_goes_where_it_is(marbles, order):
    """One member has each checkpoint; steps and words differ too and decide nothing."""
    one, two = Member(marbles, "one", lacks=("xl",)), Member(marbles, "two", lacks=("sd",))
    sweep = {"model": ["sd", "xl"], "steps": [3, 5], "sampler_name": ["Euler", "DDIM"]}
    job = rxp.chain(
        rxp.txt2img(prompt="a {mill|pier}", images=1, seed=1), order=order, out=None, variants={"sweep": sweep}
    )
    run, _ = play(marbles, [one, two], job)
    assert run.result.success
    assert {call.generation.model for call in one.calls} == {"sd"}
    assert {call.generation.model for call in two.calls} == {"xl"}
    assert len(one.calls) == len(two.calls) == 8


def test_a_stage_that_a_member_refuses_it_refuses_for_every_variant(marbles):
    lacking, fine = Lacking(marbles, "lacking"), Member(marbles, "fine")
    job = rxp.chain(rxp.txt2img(prompt="a {mill|pier|<lora:x:1>}", seed=1), rxp.upscale(), out=None, variants={})
    run, _ = play(marbles, [lacking, fine], job)
    assert run.result.success
    assert {call.stage_type for call in lacking.calls} == {"txt2img"}


@pytest.mark.parametrize("in_pool", [False, True])
def test_a_value_of_a_sweep_that_nobody_has_is_refused_before_anything_runs(marbles, in_pool):
    member = Member(marbles, "one", lacks=("xl",))
    backend = PoolBackend([member]) if in_pool else member
    sweep = {"sampler_name": ["Euler", "DDIM"], "model": ["sd", "xl"]}
    run = rxp.PipelineExecutor(backend, scheduler=marbles.clock).start(
        rxp.chain(rxp.txt2img(prompt="a"), out=None, variants={"sweep": sweep})
    )
    marbles.run()
    assert run.result.status == "failed"
    assert "model xl is not there." in run.result.error.message
    assert not member.calls


@pytest.mark.parametrize("prompt", ["a <lora:cute:1>", "a {<lora:cute:0.5>|pier}"])
def test_an_image_goes_only_where_its_lora_is(prompt):
    """A WebUI leaves out a LoRA that it lacks; where no member has it, all draw, with a warning."""
    with WebUIServer(loras=["cute"]) as has, WebUIServer() as lacks, WebUIServer() as other:
        job = rxp.chain(
            rxp.txt2img(prompt=prompt, images=6, width=64, height=64), out=None, variants={} if "{" in prompt else None
        )
        with rxp.open_backend(f"{has.url},{lacks.url}") as pool:
            result = rxp.PipelineRunner(pool).run(job)
        with rxp.open_backend(f"{lacks.url},{other.url}") as pool:
            without = rxp.PipelineRunner(pool).run(job)
    assert result.success
    assert sum("lora" in job.call.body["prompt"] for job in has.jobs) == 6
    assert not any("was not used" in warning for warning in result.warnings)
    assert any(f"{lacks.url}: gets no image with it" in warning for warning in result.warnings)
    assert without.success
    assert sum("was not used" in warning for warning in without.warnings) == 6
    assert {record.server for record in without.records} == {lacks.url, other.url}


class Counting(Member):
    """A member that counts its checks, and whose lists are as its *catalog* says."""

    checks = 0

    def check(self, plan):
        self.checks += 1
        return super().check(plan)

    def catalog(self):
        if self.lacks == ("all",):
            raise BackendRejected("401.")
        return Catalog(models=tuple(CatalogItem(name) for name in ("a", "b", "c", "d") if name not in self.lacks))


def test_a_large_sweep_is_checked_in_few_questions(marbles):
    """Four checkpoints, ten samplers, five schedulers: 200 combinations on members that have two of the four each."""
    members = [Counting(marbles, n, lacks=lacks) for n, lacks in enumerate([("a", "b"), ("c", "d"), ("all",)])]
    sweep = {
        "model": ["a", "b", "c", "d"],
        "sampler_name": [f"sampler {n}" for n in range(10)],
        "scheduler": [f"scheduler {n}" for n in range(5)],
    }
    run, _ = play(marbles, members, rxp.chain(rxp.txt2img(prompt="a"), out=None, variants={"sweep": sweep}))
    assert run.result.success
    assert [{call.generation.model for call in member.calls} for member in members] == [{"c", "d"}, {"a", "b"}, set()]
    assert [member.checks for member in members] == [1, 1, 0]


def test_a_check_of_another_plan_changes_nothing_for_a_run_in_progress(marbles):
    """A window looks at its backend every few seconds, with the smallest plan there is."""
    has, lacks = Member(marbles, "has"), Member(marbles, "lacks", lacks=("xl",))
    pool = PoolBackend([has, lacks])
    executor = rxp.PipelineExecutor(pool, scheduler=marbles.clock)
    executor.events.subscribe(
        lambda event: pool.check(rxp.chain(rxp.txt2img()).plan) if event.kind == "stage_image_progress" else None
    )
    run = executor.start(rxp.chain(rxp.txt2img(prompt="a", images=4, model="xl"), out=None))
    marbles.run()
    assert run.result.success
    assert not lacks.calls


def test_a_second_check_says_what_is_so_now(marbles):
    """What a member lacked in one run, and has in the next."""
    member = Member(marbles, "one", lacks=("xl",))
    executor = rxp.PipelineExecutor(PoolBackend([member]), scheduler=marbles.clock)
    job = rxp.chain(rxp.txt2img(prompt="a", model="xl"), out=None)
    statuses = []
    for lacks in (("xl",), (), ("xl",)):
        member.lacks = lacks
        run = executor.start(job)
        marbles.run()
        statuses.append(run.result.status)
    assert statuses == ["failed", "completed", "failed"]
