"""PoolBackend: several backends as one; in virtual time, but for the last ones over HTTP."""

from __future__ import annotations

import threading

import pytest

import rxpipe as rxp
from rxpipe.backends.catalog import Catalog, CatalogItem
from rxpipe.backends.pool import PoolBackend
from rxpipe.backends.sketch import SketchBackend
from rxpipe.errors import BackendFailed, BackendRejected, BackendUnavailable
from rxpipe.sinks.log import line
from rxpipe.status import RunStatus, reduce_status
from rxpipe.testing import ScriptedBackend
from rxpipe.views.in_work import in_work

RETRY = rxp.RetryConfig(attempts=3, first_delay_s=0.001, jitter=0)
FRAME_S = 0.001


class Member(ScriptedBackend):
    """A scripted backend with a name, names that it refuses in `check`, and names that it has."""

    def __init__(self, harness, where, scripts=None, *, lacks=(), **settings):
        super().__init__(harness, scripts or {"txt2img": "----o|", "upscale": "----o|"}, **settings)
        self.url, self.lacks = f"http://{where}", lacks

    def check(self, plan):
        super().check(plan)
        for stage in plan.stages:
            if stage.generation.model in self.lacks:
                raise BackendRejected(f"model {stage.generation.model} is not there.")
        return ()

    def catalog(self):
        return Catalog(models=(CatalogItem("sd15"), CatalogItem(self.url)), samplers=None)

    @property
    def images(self):
        return [(call.stage_type, call.image_index) for call in self.calls]


def play(marbles, members, job=None, **settings):
    """Run *job* on a pool of *members*; returns the finished run and how many seconds it took."""
    job = job or rxp.chain(rxp.txt2img(prompt="a", images=8, seed=1), **{"out": None, "retry": RETRY, **settings})
    executor = rxp.PipelineExecutor(PoolBackend(members), scheduler=marbles.clock)
    run = executor.start(job)
    marbles.run()
    assert run.done
    return run, (run.result.events[-1].timestamp - run.result.events[0].timestamp).total_seconds()


def servers(run, stage="txt2img"):
    """Which server rendered which image of a stage."""
    return {record.image_index: record.server for record in run.result.records if record.stage_type == stage}


@pytest.mark.parametrize("order", ["stage", "image", "auto"])
@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.sampled(2)
def test_equal_members_share_the_images(marbles, order, count):
    """Two stages of five frames: so many times as fast, in every order, and nothing is lost."""
    images = 8 * count
    job = rxp.chain(rxp.txt2img(prompt="a", images=images, seed=7), rxp.upscale(), order=order, out=None)
    run, took_s = play(marbles, [Member(marbles, n) for n in range(count)], job)
    assert run.result.success
    assert took_s == pytest.approx(images * 2 * 5 * FRAME_S / count, rel=0.1)
    assert [image.seed for image in run.result.images] == list(range(7, 7 + images))
    assert len(set(servers(run).values())) == count


def test_a_slow_member_gets_what_it_can_do(marbles):
    """Three members of 5 frames and one of 20: the slow one holds nobody up."""
    members = [*(Member(marbles, n) for n in range(3)), Member(marbles, "slow", {"txt2img": "-------------------o|"})]
    run, took_s = play(marbles, members, rxp.chain(rxp.txt2img(prompt="a", images=32, seed=1), out=None))
    assert run.result.success
    assert took_s <= 1.3 * 32 / (3 / 5 + 1 / 20) * FRAME_S
    assert 1 <= len(members[-1].calls) <= 4


def test_an_image_whose_member_fails_moves_to_another_at_once_and_says_so(marbles):
    """No retry of the run is spent, the failing member rests, and comes back; the failure is an event of its time."""
    broken = Member(marbles, "broken", {"txt2img": ["#", "----o|"]}, errors={"txt2img": BackendUnavailable("refused.")})
    fine = Member(marbles, "fine", {"txt2img": "-" * 400 + "o|"})
    job = rxp.chain(rxp.txt2img(prompt="a", images=8, seed=1), out=None, retry=RETRY)
    run, _ = play(marbles, [broken, fine], job)
    assert run.result.success
    (moved,) = [event for event in run.result.events if event.kind == "stage_retry"]
    assert (moved.attempt, moved.delay_s, moved.error.message) == (1, 0.0, "refused.")
    assert [record.server for record in run.result.records if record.image_index == moved.image_index] == [
        "http://fine"
    ]
    assert not run.result.warnings
    assert len(broken.calls) > 1, "it is used again after its rest"


def test_a_member_that_hangs_costs_one_time_limit(marbles):
    """One of two never answers: all images, and the run waits for it once."""
    hanging = Member(marbles, "hanging", {"txt2img": "-" * 5000, "wait_idle": "-" * 5000})
    job = rxp.chain(rxp.txt2img(prompt="a", images=8, seed=1), out=None, retry=RETRY, timeout_s=0.1)
    run, took_s = play(marbles, [hanging, Member(marbles, "fine")], job)
    assert run.result.success
    assert len(hanging.calls) == 1
    assert took_s < 0.1 + 10 * 5 * FRAME_S
    hanging["txt2img"].subscriptions.to_be("^" + "-" * 99 + "!")


def test_a_member_that_hangs_and_is_idle_again_rests_before_it_gets_another_image(marbles):
    """It answers every interrupt and renders nothing: no image is given to it three times."""
    hanging = Member(marbles, "hanging", {"txt2img": "-" * 5000}, queue_ahead=1)
    fine = Member(marbles, "fine", queue_ahead=1)
    job = rxp.chain(rxp.txt2img(prompt="a", images=8, seed=1), out=None, retry=RETRY, timeout_s=0.1)
    run, took_s = play(marbles, [hanging, fine], job)
    assert run.result.success
    assert len(hanging.calls) == 2
    assert took_s < 0.1 + 10 * 5 * FRAME_S


def test_what_every_member_fails_at_is_the_images_failure(marbles):
    """Each was asked once; the others' images go on."""
    scripts = {"txt2img": ["#", "----o|"]}
    failing = {"txt2img": BackendFailed("NaN.")}
    members = [Member(marbles, n, scripts, errors=failing) for n in range(2)]
    run, _ = play(marbles, members, rxp.chain(rxp.txt2img(prompt="a", images=2, seed=1), out=None))
    outcomes = sorted(record.outcome for record in run.result.records)
    assert outcomes in (["done", "done"], ["done", "failed"])
    assert sum(len(member.calls) for member in members) <= 4


@pytest.mark.parametrize("timeout_s", [0.02, 600.0])
def test_where_every_member_fails_at_all_images_none_waits_for_a_rest(marbles, timeout_s):
    """Each image says why, and not that its time was up; nothing is waited for that spares nobody."""
    failing = {"txt2img": BackendFailed("out of memory")}
    members = [Member(marbles, n, {"txt2img": "--#"}, errors=failing) for n in range(2)]
    settings = {"timeout_s": timeout_s, "max_failures_in_a_row": 100}
    run, took_s = play(marbles, members, **settings)
    failed = [record.error for record in run.result.records]
    assert len(failed) == 8
    assert all("out of memory" in error.message for error in failed)
    assert took_s < 0.2


@pytest.mark.parametrize("attempts", [1, 3])
def test_an_image_for_which_the_time_is_up_while_all_members_rest_says_what_they_rest_for(marbles, attempts):
    gone = {"txt2img": BackendUnavailable("no server answers", scope="image")}
    members = [Member(marbles, n, {"txt2img": "--#"}, errors=gone) for n in range(2)]
    retry = rxp.RetryConfig(attempts=attempts, first_delay_s=0.001, jitter=0)
    run, _ = play(marbles, members, retry=retry, timeout_s=0.5, max_failures_in_a_row=100)
    failed = [record.error for record in run.result.records]
    assert len(failed) == 8
    assert all("no server answers" in f"{error.message} {error.hint}" for error in failed)


def test_the_time_limit_of_an_image_that_was_on_a_member_names_no_other_images_failure(marbles):
    """One member fails at the first image, which waits for the other, where the second hangs."""
    members = [Member(marbles, 1, {"txt2img": "--#"}), Member(marbles, 2, {"txt2img": "-----"})]
    job = rxp.chain(
        rxp.txt2img(prompt="a", images=2, seed=1), out=None, retry=rxp.RetryConfig(attempts=1), timeout_s=0.05
    )
    run, _ = play(marbles, members, job)
    first, second = sorted(run.result.records, key=lambda record: record.image_index)
    assert "no picture within" in first.error.message
    assert "Raise timeout_s" not in first.error.hint
    assert "Raise timeout_s" in second.error.hint


def test_nobody_there_is_the_runs_failure(marbles):
    gone = {"txt2img": BackendUnavailable("refused.")}
    members = [Member(marbles, n, {"txt2img": "#"}, errors=gone) for n in range(2)]
    run, _ = play(marbles, members)
    assert run.result.status == "failed"
    assert "refused." in run.result.error.message


def test_the_images_of_a_batch_stay_on_one_member(marbles):
    members = [Member(marbles, n) for n in range(2)]
    for member in members:
        member.batches = True
    run, _ = play(marbles, members, rxp.chain(rxp.txt2img(prompt="a", images=8, batch_size=4, seed=1), out=None))
    assert run.result.success
    by_server = servers(run)
    assert len({by_server[index] for index in (1, 2, 3, 4)}) == 1
    assert len({by_server[index] for index in (5, 6, 7, 8)}) == 1
    assert by_server[1] != by_server[5]


def test_a_member_keeps_its_checkpoint_where_it_can(marbles):
    """Two checkpoints on two members: each loads one."""
    job = rxp.chain(
        rxp.txt2img(prompt="a", images=6, seed=1, model="one"), rxp.img2img(model="two"), order="image", out=None
    )
    scripts = {"txt2img": "----o|", "img2img": "----o|"}
    members = [Member(marbles, n, scripts) for n in range(2)]
    run, _ = play(marbles, members, job)
    assert run.result.success
    switches = sum(
        one.generation.model != other.generation.model
        for member in members
        for one, other in zip(member.calls, member.calls[1:], strict=False)
    )
    assert switches <= 6, "and ten if placement ignored the checkpoint"


def test_an_image_goes_only_where_its_checkpoint_is(marbles):
    has, lacks = Member(marbles, "has"), Member(marbles, "lacks", lacks=("xl",))
    job = rxp.chain(rxp.txt2img(prompt="a", images=4, seed=1, model="xl"), rxp.upscale(), out=None)
    run, _ = play(marbles, [has, lacks], job)
    assert run.result.success
    assert {call.stage_type for call in lacks.calls} <= {"upscale"}
    assert "http://lacks: gets no image of txt2img: model xl is not there." in run.result.warnings


def test_what_no_member_has_is_refused_before_anything_runs(marbles):
    members = [Member(marbles, n, lacks=("xl",)) for n in range(2)]
    run, _ = play(marbles, members, rxp.chain(rxp.txt2img(prompt="a", model="xl"), out=None))
    assert run.result.status == "failed"
    assert "http://0: model xl is not there.; http://1: model xl" in run.result.error.message
    assert not any(member.calls for member in members)


class Away(Member):
    """A member that answers `check` from the *asked*-th time on."""

    def __init__(self, harness, asked, **settings):
        super().__init__(harness, "away", **settings)
        self.left = asked - 1

    def check(self, plan):
        if self.left:
            self.left -= 1
            raise BackendUnavailable("refused.")
        return super().check(plan)


@pytest.mark.parametrize("asked", [2, 3, 99])
def test_a_member_that_is_not_there_at_the_start_is_left_out_until_it_answers(marbles, asked):
    """It is asked again after its rests of 1, 2, 4 s; what waits for it fails with what the others said."""
    away = Away(marbles, asked)
    fine = Member(marbles, "fine", {"txt2img": "-" * 800 + "o|"})
    run, _ = play(marbles, [away, fine], max_failures_in_a_row=9)
    assert run.result.success
    assert run.result.warnings == ("http://away: refused. It gets images once it answers.",)
    assert bool(away.calls) == (asked < 99)


def test_a_member_that_comes_later_gets_only_what_it_has(marbles):
    """It is checked before its first image, as those that were there from the beginning are."""
    slow = {"txt2img": "-" * 400 + "o|", "img2img": "-" * 400 + "o|"}
    fine, away = Member(marbles, "fine", slow), Away(marbles, 2, scripts=slow, lacks=("xl",))
    job = rxp.chain(
        rxp.txt2img(prompt="a", images=6, seed=1, model="xl"), rxp.img2img(model="sd"), out=None, order="stage"
    )
    run, _ = play(marbles, [away, fine], job)
    assert run.result.success
    assert {call.stage_type for call in away.calls} == {"img2img"}


def test_an_image_that_waits_for_a_member_that_stays_away_says_why_the_other_failed(marbles):
    failing = Member(marbles, "failing", {"txt2img": ["-#", "-o|"]}, errors={"txt2img": BackendFailed("NaN.")})
    run, took_s = play(marbles, [Away(marbles, 99), failing])
    assert [record.error.message for record in run.result.records if record.error] == ["NaN."]
    assert run.result.tally.done == 7
    assert took_s < 1.2


def test_a_cancel_interrupts_every_member_once(marbles):
    members = [Member(marbles, n, {"txt2img": "-" * 50}) for n in range(3)]
    run = rxp.PipelineExecutor(PoolBackend(members), scheduler=marbles.clock).start(
        rxp.chain(rxp.txt2img(prompt="a", images=8, seed=1), out=None)
    )
    marbles.clock.advance_by("10ms")
    run.cancel()
    marbles.run()
    assert run.result.status == "cancelled"
    for member in members:
        member["txt2img"].subscriptions.to_be("^---------!")


def test_which_member_rendered_a_picture_stands_in_its_lineage(marbles):
    run, _ = play(marbles, [Member(marbles, n) for n in range(2)])
    entries = [run.result.artifact(record).lineage[-1].settings["server"] for record in run.result.images]
    assert set(entries) == {"http://0", "http://1"}


def test_a_pool_has_what_any_member_has_and_closes_all(marbles):
    closed = []
    members = [Member(marbles, n) for n in range(2)]
    for member in members:
        member.close = lambda member=member: closed.append(member)
    with PoolBackend(members) as pool:
        assert pool.catalog().names("models") == ("sd15", "http://0", "http://1")
        assert pool.catalog().samplers is None
        assert (pool.capacity, pool.queue_ahead) == (2, 0)
        assert pool.description == "2 backends: http://0, http://1"
    assert closed == members


@pytest.mark.parametrize("members", [[], "twice"])
def test_a_pool_of_nothing_or_of_the_same_backend_twice_is_refused(marbles, members):
    one = Member(marbles, 1)
    with pytest.raises(ValueError, match="at least one"):
        PoolBackend([one, one] if members == "twice" else members)


@pytest.mark.parametrize("named", ["http://a:7860,http://b:7861", "a.lan:7860, b.lan:7861", "http://a:7860,embedded"])
def test_addresses_with_commas_between_them_open_a_pool(named):
    with rxp.open_backend(named) as pool:
        assert isinstance(pool, PoolBackend)
        assert len(pool.members) == 2


def test_options_of_one_backend_are_no_pool():
    with rxp.open_backend("sketch:pace=0.01") as backend:
        assert backend.name == "sketch"


def test_a_pool_renders_again_after_a_run_was_cancelled():
    """By the machine's time: the scheduler of the cancelled run is closed, and its members are idle all the same."""
    members = [SketchBackend(pace_s=0.02), SketchBackend(pace_s=0.02)]
    with PoolBackend(members) as pool:
        executor = rxp.PipelineExecutor(pool)
        for _ in range(3):
            begun = threading.Event()
            listening = executor.events.subscribe(lambda event, begun=begun: event.kind == "stage_step" and begun.set())
            job = rxp.chain(rxp.txt2img(prompt="a", images=4, width=64, height=64, steps=40), out=None)
            run = executor.start(job)
            assert begun.wait(10)
            run.cancel()
            assert run.wait(10)
            listening.dispose()
        last = executor.start(rxp.chain(rxp.txt2img(prompt="a", images=2, width=64, height=64, steps=1), out=None))
        assert last.wait(10), "its members never got another image"
        assert last.result.success


def test_an_image_has_the_same_number_in_every_stage(marbles):
    """A slow member lets the second image overtake: lines, status and places name it by its number in the run."""
    scripts = {"txt2img": "s---------o|", "upscale": "-s--o|"}
    members = [Member(marbles, "slow", scripts), Member(marbles, "fast", {**scripts, "txt2img": "s-o|"})]
    job = rxp.chain(rxp.txt2img(prompt="a", images=3, seed=5), rxp.upscale(), order="image", out=None)
    run, _ = play(marbles, members, job)
    events = run.result.events
    finished = [event for event in events if isinstance(event, rxp.StageImageProgress)]
    assert any(event.image_index != event.image_number for event in finished)  # else nothing has overtaken
    for event in finished:
        assert (event.image_number, f"image {event.image_number}/3 " in line(event, 3)) == (event.seed - 4, True)
    seen, status = set(), RunStatus()
    for event in events:
        status = reduce_status(status, event)
        seen |= {work.image_number for work in in_work(status)}
        if isinstance(event, rxp.StageStep):
            assert status.stages[event.stage_index].in_progress[event.image_index].number == event.image_number
    assert seen == {1, 2, 3}
