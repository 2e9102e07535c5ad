"""Batches over real HTTP: one request for the images of a batch, whichever image fails, is skipped or cancelled."""

import threading

import pytest
from stages import GRACE_S, Watched, returns_before_any_answer, stage_of

import rxpipe as rxp
from rxpipe.backends.base import Output
from rxpipe.backends.webui.backend import WebUIBackend
from rxpipe.testing.servers.webui import Fault, WebUIServer

CONFIG = rxp.Txt2ImgConfig(prompt="a lighthouse", width=64, height=64, steps=20, images=8, batch_size=4)
GROUPS = (range(1, 5), range(5, 9))


@pytest.fixture
def server():
    """A server that takes a moment for each picture."""
    with WebUIServer(latency_s=0.02) as running:
        yield running


@pytest.fixture
def backend(server):
    """A backend with room for two groups."""
    with WebUIBackend(server.url, queue_ahead=1, poll_s=0.02, grace_s=GRACE_S, idle_timeout_s=3.0) as made:
        yield made


def begin(backend, index):
    """Subscribe to one image."""
    return Watched(backend.render(stage_of(CONFIG, image_index=index, seed=100 + index), None))


def begin_together(backend, indices):
    """Subscribe to several images, each on a thread of its own, as close together as threads are."""
    seen, barrier = {}, threading.Barrier(len(indices))

    def subscribe(index):
        barrier.wait(5)
        seen[index] = begin(backend, index)

    threads = [threading.Thread(target=subscribe, args=(index,)) for index in indices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    return seen


def asked(server):
    """The batch sizes that were posted, in order."""
    return [call.body["batch_size"] for call in server.calls_to("txt2img")]


def seeds_asked(server):
    """The seeds that were posted, request by request."""
    bodies = [call.body for call in server.calls_to("txt2img")]
    return [list(range(body["seed"], body["seed"] + body["batch_size"])) for body in bodies]


def retried(backend, seen, index):
    """The picture of an image, asked for again where it failed."""
    try:
        return seen[index].output
    except rxp.BackendError:
        return begin(backend, index).output


def test_eight_images_in_two_groups_are_two_requests(server, backend):
    """Both groups in flight, eight cells each waiting for its picture: four and four."""
    seen = {index: cell for group in GROUPS for index, cell in begin_together(backend, group).items()}
    outputs = {index: cell.output for index, cell in seen.items()}

    assert asked(server) == [4, 4]
    assert sorted(seed for seeds in seeds_asked(server) for seed in seeds) == list(range(101, 109))
    assert {index: output.seed for index, output in outputs.items()} == {index: 100 + index for index in range(1, 9)}
    assert len({output.data for output in outputs.values()}) == 8
    assert all(len(cell.of(Output)) == 1 for cell in seen.values())


@pytest.mark.parametrize("fault", [Fault.OUT_OF_MEMORY, Fault.RESET, Fault.FEWER_IMAGES], ids=lambda fault: fault.name)
def test_after_a_failed_request_nothing_is_asked_for_twice(fault, server, backend):
    """One image fails and is retried; all that was asked for, less what failed, is eight."""
    server.fault("txt2img", fault)
    seen = {index: cell for group in GROUPS for index, cell in begin_together(backend, group).items()}
    outputs = [retried(backend, seen, index) for index in range(1, 9)]

    assert sum(asked(server)) - 4 == 8
    assert [output.seed for output in outputs] == list(range(101, 109))
    assert sum(cell.error is not None for cell in seen.values()) == 1


@pytest.mark.parametrize("nowebui", [False, True])
def test_a_skipped_image_leaves_the_request_to_the_next(nowebui):
    """Image 1 sent it; its interrupt ends it, and the three others are asked for again, without it."""
    with (
        WebUIServer(latency_s=30.0, nowebui=nowebui) as server,
        WebUIBackend(server.url, poll_s=0.02, grace_s=GRACE_S) as backend,
    ):
        first = begin(backend, 1)
        assert server.wait_running("txt2img")
        others = {index: begin(backend, index) for index in (2, 3, 4)}
        server.setup.latency_s["txt2img"] = 0.02
        with returns_before_any_answer(server):
            first.subscription.dispose()
        outputs = {index: seen.output for index, seen in others.items()}

        assert seeds_asked(server) == [[101, 102, 103, 104], [102, 103, 104]]
        assert {index: output.seed for index, output in outputs.items()} == {2: 102, 3: 103, 4: 104}
        assert [hit.job.stage for hit in server.interrupts] == ["txt2img"]
        assert [job.outcome for job in server.jobs] == ["interrupted", "done"]
        assert (first.of(Output), first.error, first.completed) == ([], None, False)


def test_a_skipped_image_that_waits_costs_nothing(server, backend):
    """It leaves immediately; the request continues for the others."""
    hold = server.hold("txt2img")
    seen = {index: begin(backend, index) for index in (1, 2, 3, 4)}
    assert hold.wait_reached()
    with returns_before_any_answer(server):
        seen[3].subscription.dispose()
    hold.release()
    outputs = [seen[index].output.seed for index in (1, 2, 4)]

    assert outputs == [101, 102, 104]
    assert asked(server) == [4]
    assert server.interrupts == ()
    assert (seen[3].values, seen[3].error, seen[3].completed) == ([], None, False)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_cancel_sends_nothing_more(reverse, server, backend):
    """All cells are disposed one after another: one interrupt for the request that runs, none takes its place."""
    server.setup.latency_s["txt2img"] = 30.0
    seen = {index: begin(backend, index) for index in (1, 2, 3, 4)}
    assert server.wait_running("txt2img")
    with returns_before_any_answer(server):
        for index in sorted(seen, reverse=reverse):
            seen[index].subscription.dispose()
    assert server.wait_idle()
    assert not server.wait_for(lambda: len(asked(server)) > 1, 0.2)

    assert asked(server) == [4]
    assert len(server.interrupts) == 1
    assert not any(cell.of(Output) or cell.error or cell.completed for cell in seen.values())

    server.setup.latency_s["txt2img"] = 0.02
    again = {index: begin(backend, index) for index in (1, 2, 3, 4)}
    assert [again[index].output.seed for index in again] == [101, 102, 103, 104]
    assert asked(server) == [4, 4]


def test_images_that_wait_hold_neither_thread_nor_connection(server, backend):
    """Thirty-two in a batch: one request in flight."""
    config = CONFIG.model_copy(update={"images": 32, "batch_size": 32})
    hold = server.hold("txt2img")
    seen = [Watched(backend.render(stage_of(config, image_index=index, seed=index), None)) for index in range(1, 33)]
    assert hold.wait_reached()
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("rxpipe-webui-call")]
    hold.release()
    assert [cell.output.seed for cell in seen] == list(range(1, 33))

    assert len(threads) <= 3
    assert server.max_in_flight == 1
    assert server.connections <= 3


def test_closing_ends_the_images_that_wait(server):
    """None hangs, and none sends."""
    hold = server.hold("txt2img")
    backend = WebUIBackend(server.url, poll_s=0.02)
    seen = [begin(backend, index) for index in (1, 2, 3, 4)]
    assert hold.wait_reached()
    backend.close()
    for cell in seen:
        with pytest.raises(rxp.BackendError):
            _ = cell.output

    assert asked(server) == [4]


def test_a_run_asks_for_each_picture_once(server, backend, tmp_path):
    """Whatever order the run begins its images in."""
    chain = rxp.chain(rxp.txt2img(CONFIG), out=tmp_path)
    result = rxp.PipelineRunner(backend).run(chain)

    assert result.status == "completed"
    assert asked(server) == [4, 4]
