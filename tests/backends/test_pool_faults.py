"""The table of faults over a pool: one of three members has each, in both orders; nothing is lost or doubled."""

from __future__ import annotations

import errno
import os
import time
from collections import Counter

import pytest

import rxpipe as rxp
from rxpipe.testing import FaultyFiles, WebUIServer
from rxpipe.testing.servers.webui import Fault

IMAGES = 9
NEVER_DRAWS = {
    "hangs": Fault.STUCK,
    "is slow": Fault.SLOW.but(seconds=0.6),
    "is out of memory": Fault.OUT_OF_MEMORY,
    "draws NaNs": Fault.NAN,
    "fails otherwise": Fault.GENERIC,
    "lost auth": Fault.UNAUTHORIZED,
    "is asked too often": Fault.TOO_MANY_REQUESTS,
    "is unavailable": Fault.UNAVAILABLE,
    "is behind a dead proxy": Fault.HTML_PAGE,
    "resets": Fault.RESET,
    "tears its answers": Fault.TRUNCATED_JSON,
    "resets in its answers": Fault.RESET_MID_BODY,
    "cuts its answers short": Fault.SHORT_BODY,
    "answers nothing": Fault.EMPTY_BODY,
    "sends torn pictures": Fault.CUT_PNG,
    "sends flipped bytes": Fault.FLIPPED_BYTE,
    "sends no picture": Fault.NO_IMAGES,
}
ONCE = {name: NEVER_DRAWS[name] for name in NEVER_DRAWS if name != "hangs"} | {
    "dies and comes back": Fault.DIES.but(back_after_s=0.2),
    "is restarted": Fault.REFUSED,
}
RETRY = rxp.RetryConfig(attempts=3, first_delay_s=0.01, jitter=0)


@pytest.fixture
def servers():
    """Three servers; the first gets the fault."""
    with WebUIServer(latency_s=0.03) as sick, WebUIServer(latency_s=0.03) as one, WebUIServer(latency_s=0.03) as other:
        yield sick, one, other


def play(servers, order, out, *, files=None, **settings):
    """Two stages of nine images on the three, every one with its own seed."""
    job = rxp.chain(
        rxp.txt2img(prompt="a", images=IMAGES, seed=7, width=64, height=64),
        rxp.img2img(),
        order=order,
        out=out,
        **{"retry": RETRY, "timeout_s": 2.0, **settings},
    )
    with rxp.open_backend(",".join(server.url for server in servers)) as backend:
        run = rxp.PipelineExecutor(backend, files=files).start(job)
        assert run.wait(60)
        return run.result


def check_whole(result, servers):
    """Every image went through both stages once, is in one file, and each healthy member drew what it is said to."""
    assert result.success, result.error
    assert [image.seed for image in result.images] == list(range(7, 7 + IMAGES))
    by_stage = Counter((record.stage_type, record.image_index) for record in result.records)
    assert by_stage == Counter({(stage, n): 1 for stage in ("txt2img", "img2img") for n in range(1, IMAGES + 1)})
    paths = [record.path for record in result.records]
    assert len(set(paths)) == 2 * IMAGES
    assert all(path.is_file() for path in paths)
    drew = Counter(record.server for record in result.records)
    for server in servers[1:]:
        assert drew[server.url] == sum(job.outcome == "done" for job in server.jobs) > 0
    return drew


@pytest.mark.sampled(2)
@pytest.mark.parametrize("order", ["stage", "image"])
@pytest.mark.parametrize("name", NEVER_DRAWS)
def test_a_member_that_always_fails_costs_no_image(name, order, servers, tmp_path):
    """The others draw everything; a slow one draws what it can."""
    for stage in ("txt2img", "img2img"):
        servers[0].fault(stage, NEVER_DRAWS[name], times=None)
    drew = check_whole(play(servers, order, tmp_path), servers)
    assert (drew[servers[0].url] > 0) == (name == "is slow")
    servers[0].unstick()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("order", ["stage", "image"])
@pytest.mark.parametrize("stage", ["txt2img", "img2img"])
@pytest.mark.parametrize("name", ONCE)
def test_a_member_that_fails_once_costs_no_image(name, stage, order, servers, tmp_path):
    servers[0].fault(stage, ONCE[name])
    check_whole(play(servers, order, tmp_path), servers)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["stage", "image"])
def test_a_member_that_comes_back_is_used_again(order, servers, tmp_path):
    """It dies in its first picture; the others are so slow that it rests and draws on."""
    for server in servers[1:]:
        server.fault("*", Fault.SLOW.but(seconds=0.5), times=None)
    servers[0].fault("txt2img", Fault.DIES.but(back_after_s=0.1))
    drew = check_whole(play(servers, order, tmp_path), servers)
    assert drew[servers[0].url] > 0


@pytest.mark.slow
@pytest.mark.parametrize("order", ["stage", "image"])
@pytest.mark.parametrize("timeout_s", [2.0, 60.0])
def test_where_every_member_fails_each_image_fails_once_and_nothing_is_lost(timeout_s, order, servers, tmp_path):
    for server in servers:
        server.fault("img2img", Fault.OUT_OF_MEMORY, times=None)
    result = play(servers, order, tmp_path, timeout_s=timeout_s)
    assert not result.success
    made = [record for record in result.records if record.stage_type == "txt2img" and record.outcome == "done"]
    assert made
    assert all(record.path.is_file() for record in made)
    assert len({record.image_index for record in made}) == len(made)
    failed = [record for record in result.records if record.outcome == "failed"]
    assert failed
    assert all("memory" in str(record.error) for record in failed)
    assert "memory" in str(result.error)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["stage", "image"])
def test_a_disk_that_fills_up_ends_the_run_and_keeps_what_is_written(order, servers, tmp_path):
    """No member is to blame: none draws the same image for it again."""
    disk = FaultyFiles()
    job_of = Counter()
    disk.fill(room=60_000)
    result = play(servers, order, tmp_path, files=disk)
    assert not result.success
    assert os.strerror(errno.ENOSPC) in str(result.error)
    kept = [record.path for record in result.records if record.outcome == "done"]
    assert kept
    assert len(set(kept)) == len(kept)
    assert set(tmp_path.rglob("*.png")) == set(kept)
    for server in servers:
        job_of.update((job.stage, job.call.body["seed"]) for job in server.jobs)
    assert max(job_of.values()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("order", ["stage", "image"])
def test_a_member_that_answers_nothing_from_the_beginning_holds_nobody_up(order, servers, tmp_path):
    """Neither its recognition nor its check is waited for as long as a question may take."""
    servers[0].freeze()
    began_s = time.monotonic()
    result = play(servers, order, tmp_path)
    took_s = time.monotonic() - began_s
    servers[0].thaw()
    drew = check_whole(result, servers)
    assert drew[servers[0].url] == 0
    assert f"{servers[0].url}: it has not answered yet. It gets images once it answers." in result.warnings
    assert took_s < 9
