"""Every fault of the WebUI server, seen by a plain HTTP client."""

import base64
import binascii
import json
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from rxpipe.testing.servers.webui import Fault, WebUIServer

TINY = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, "seed": 1}


@pytest.fixture(params=["forge", "a1111"])
def server(request):
    with WebUIServer(request.param, gzip_level=None) as started:
        yield started


def draw(server, timeout=10, **body):
    return requests.post(f"{server.url}/sdapi/v1/txt2img", json=TINY | body, timeout=timeout)


def png(answer, number=-1):
    return base64.b64decode(answer.json()["images"][number], validate=True)


def broken_checksums(picture):
    """How many chunks of a PNG have a wrong CRC."""
    at, wrong = 8, 0
    while at + 12 <= len(picture):
        stop = at + 12 + int.from_bytes(picture[at : at + 4], "big")
        wrong += zlib.crc32(picture[at + 4 : stop - 4]) != int.from_bytes(picture[stop - 4 : stop], "big")
        at = stop
    return wrong


# -- which call meets it -----------------------------------------------------------------------------------------------


def test_a_fault_meets_the_call_it_was_meant_for_and_no_other(server):
    server.fault("txt2img", Fault.GENERIC, on_call=2)
    assert [draw(server).status_code for _ in range(3)] == [200, 500, 200]
    assert [call.fault and call.fault.name for call in server.calls] == [None, "GENERIC", None]


def test_a_fault_can_meet_several_calls_in_a_row_or_all(server):
    server.fault("txt2img", Fault.GENERIC, on_call=(1, 3))
    assert [draw(server).status_code for _ in range(4)] == [500, 200, 500, 200]
    server.fault("txt2img", Fault.NO_API, on_call=2, times=None)
    assert [draw(server).status_code for _ in range(4)] == [200, 404, 404, 404]
    server.heal()
    assert draw(server).status_code == 200


def test_a_list_of_faults_is_met_in_order(server):
    server.faults("txt2img", [None, Fault.UNAVAILABLE, None, Fault.OUT_OF_MEMORY])
    assert [draw(server).status_code for _ in range(5)] == [200, 503, 200, 500, 200]


def test_a_fault_can_be_chosen_by_what_the_call_says(server):
    server.fault("txt2img", Fault.NAN, times=None, where=lambda call: call.body["seed"] == 7)
    assert [draw(server, seed=seed).status_code for seed in (6, 7, 8, 7)] == [200, 500, 200, 500]


def test_a_fault_may_be_for_any_path_or_for_all(server):
    server.fault("progress", Fault.BAD_GATEWAY)
    assert requests.get(f"{server.url}/sdapi/v1/progress", timeout=10).status_code == 502
    assert draw(server).status_code == 200
    server.fault("*", Fault.UNAUTHORIZED)
    assert draw(server).status_code == 401


def test_adetailer_calls_are_a_target_of_their_own(server):
    server.fault("adetailer", Fault.GENERIC)
    image = draw(server).json()["images"]
    plain = {**TINY, "init_images": image}
    detail = plain | {"alwayson_scripts": {"ADetailer": {"args": [True, True, {"ad_model": "mediapipe_face_full"}]}}}
    codes = [requests.post(f"{server.url}/sdapi/v1/img2img", json=b, timeout=10).status_code for b in (plain, detail)]
    assert codes == [200, 500]


@pytest.mark.parametrize(("on_call", "times"), [(0, 1), (1, 0), ((), 1)])
def test_counting_from_zero_is_refused(server, on_call, times):
    with pytest.raises(ValueError, match="count from 1"):
        server.fault("txt2img", Fault.NAN, on_call=on_call, times=times)


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "status", "message"),
    [
        (Fault.UNAUTHORIZED, 401, "Incorrect username or password"),
        (Fault.NO_API, 404, "Not Found"),
        (Fault.UNPROCESSABLE, 422, "not found"),
        (Fault.TOO_MANY_REQUESTS, 429, "Too Many Requests"),
        (Fault.BAD_GATEWAY, 502, "Bad Gateway"),
        (Fault.UNAVAILABLE, 503, "Service Unavailable"),
        (Fault.GATEWAY_TIMEOUT, 504, "Gateway Timeout"),
        (Fault.OUT_OF_MEMORY, 500, "CUDA out of memory. Tried to allocate"),
        (Fault.NAN, 500, "NaNs was produced"),
        (Fault.BAD_INPUT, 500, "Invalid encoded image"),
        (Fault.GENERIC, 500, "Expected all tensors"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_an_error_has_the_status_and_the_words_of_its_server(server, fault, status, message):
    """The message is the first of detail, message, errors that is not empty."""
    server.fault("txt2img", fault)
    answer = draw(server)
    body = answer.json()
    assert answer.status_code == status
    assert message in next(filter(None, (body.get(name) for name in ("detail", "message", "errors"))))
    assert answer.headers.get("retry-after") == (str(fault.retry_after_s) if fault.retry_after_s else None)
    assert draw(server).status_code == 200


def test_an_exception_in_a_job_is_reported_in_the_field_of_its_server(server):
    server.fault("txt2img", Fault.OUT_OF_MEMORY)
    body = draw(server).json()
    field = {"forge": "message", "a1111": "errors"}[server.flavour.name]
    assert list(body) == ["error", "detail", "body", field]
    assert (body["error"], body["detail"], body["body"]) == ("OutOfMemoryError", "", "")
    assert server.jobs[0].outcome == "failed"


def test_a_failed_upscale_by_fault_leaves_its_state_behind(server):
    image = draw(server).json()["images"][0]
    server.fault("upscale", Fault.OUT_OF_MEMORY)
    body = {"image": image, "upscaler_1": "Lanczos"}
    assert requests.post(f"{server.url}/sdapi/v1/extra-single-image", json=body, timeout=10).status_code == 500
    assert requests.get(f"{server.url}/sdapi/v1/progress", timeout=10).json()["state"]["job"] == "Upscale"


def test_a_gateway_s_page_is_html(server):
    server.fault("txt2img", Fault.HTML_PAGE)
    answer = draw(server)
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert answer.text.startswith("<html>")


def test_a_refused_call_costs_no_job(server):
    server.fault("txt2img", Fault.UNAVAILABLE)
    draw(server)
    assert server.jobs == ()


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_bad_base64_is_no_base64(server):
    server.fault("txt2img", Fault.BAD_BASE64)
    with pytest.raises(binascii.Error):
        png(draw(server))


def test_no_image_is_sound_base64_of_something_else(server):
    server.fault("txt2img", Fault.NOT_AN_IMAGE)
    assert png(draw(server)) == b"hello world"


def test_a_flipped_byte_breaks_one_checksum_and_no_more(server):
    whole = png(draw(server))
    server.fault("txt2img", Fault.FLIPPED_BYTE)
    flipped = png(draw(server))
    assert (len(flipped), broken_checksums(whole), broken_checksums(flipped)) == (len(whole), 0, 1)


def test_a_cut_png_is_sound_up_to_its_end(server):
    whole = png(draw(server))
    server.fault("txt2img", Fault.CUT_PNG.but(fraction=0.25))
    assert png(draw(server)) == whole[: len(whole) // 4]


def test_images_can_be_missing_while_info_tells_of_them(server):
    server.faults("txt2img", [Fault.NO_IMAGES, Fault.FEWER_IMAGES])
    none, fewer = (draw(server, n_iter=3).json() for _ in range(2))
    assert [len(body["images"]) for body in (none, fewer)] == [0, 2]
    assert json.loads(fewer["info"])["all_seeds"] == [1, 2, 3]


def test_only_the_last_picture_of_several_is_broken(server):
    server.fault("txt2img", Fault.FLIPPED_BYTE)
    answer = draw(server, n_iter=2)
    assert [broken_checksums(png(answer, number)) for number in range(2)] == [0, 1]


@pytest.mark.parametrize("fault", [Fault.BAD_BASE64, Fault.NOT_AN_IMAGE, Fault.FLIPPED_BYTE, Fault.NO_IMAGES])
def test_an_upscaled_picture_can_be_broken_too(server, fault):
    body = {"image": draw(server).json()["images"][0], "upscaler_1": "Lanczos"}
    url = f"{server.url}/sdapi/v1/extra-single-image"
    whole = requests.post(url, json=body, timeout=10).json()["image"]
    server.fault("upscale", fault)
    assert requests.post(url, json=body, timeout=10).json()["image"] != whole


# -- on the wire -------------------------------------------------------------------------------------------------------


def test_a_reset_connection_draws_nothing(server):
    server.fault("txt2img", Fault.RESET)
    with pytest.raises(requests.ConnectionError):
        draw(server)
    assert server.jobs == ()
    assert draw(server).status_code == 200


@pytest.mark.parametrize("fault", [Fault.RESET_MID_BODY, Fault.SHORT_BODY])
def test_a_body_that_breaks_off_is_an_error_though_the_job_was_done(server, fault):
    server.fault("txt2img", fault)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        draw(server)
    assert [job.outcome for job in server.jobs] == ["done"]
    assert draw(server).status_code == 200


def test_truncated_json_is_a_whole_answer_of_half_a_document(server):
    server.fault("txt2img", Fault.TRUNCATED_JSON)
    answer = draw(server)
    assert (answer.status_code, answer.content[:11]) == (200, b'{"images":[')
    with pytest.raises(requests.JSONDecodeError):
        answer.json()


def test_an_empty_body_is_200_and_nothing(server):
    server.fault("txt2img", Fault.EMPTY_BODY)
    assert (draw(server).status_code, draw(server).content != b"") == (200, True)


def test_a_slow_drip_arrives_whole_in_its_time(server):
    server.fault("txt2img", Fault.SLOW_DRIP.but(seconds=0.1))
    began = time.monotonic()
    assert broken_checksums(png(draw(server))) == 0
    assert time.monotonic() - began >= 0.1


def test_a_call_that_is_never_answered_does_not_hold_the_queue(server):
    server.fault("txt2img", Fault.NEVER)
    with pytest.raises(requests.ReadTimeout):
        draw(server, timeout=0.05)
    assert draw(server).status_code == 200


def test_a_stuck_job_holds_the_queue_and_hears_no_interrupt(server):
    server.fault("txt2img", Fault.STUCK)
    with ThreadPoolExecutor(2) as pool:
        stuck = pool.submit(draw, server)
        assert server.wait_running()
        requests.post(f"{server.url}/sdapi/v1/interrupt", timeout=10)
        behind = pool.submit(draw, server)
        assert server.wait_queued(1)
        server.unstick()
        assert (stuck.result().status_code, behind.result().status_code) == (200, 200)


def test_a_slow_call_can_be_interrupted(server):
    server.fault("txt2img", Fault.SLOW)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(draw, server)
        assert server.wait_running()
        requests.post(f"{server.url}/sdapi/v1/interrupt", timeout=10)
        assert slow.result().status_code == 200


def test_a_frozen_server_answers_nobody_until_it_thaws(server):
    server.freeze()
    with pytest.raises(requests.ReadTimeout):
        requests.get(f"{server.url}/sdapi/v1/progress", timeout=0.05)
    server.thaw()
    assert requests.get(f"{server.url}/sdapi/v1/progress", timeout=10).status_code == 200


# -- going and coming back ---------------------------------------------------------------------------------------------


def refused(server):
    """Whether a new connection is refused."""
    try:
        requests.get(f"{server.url}/sdapi/v1/progress", timeout=10)
    except requests.ConnectionError as error:
        return "Connection refused" in str(error)
    return False


def test_a_server_that_is_down_refuses_and_comes_back_on_its_port(server):
    url = server.url
    server.go_down()
    assert refused(server)
    server.come_back()
    assert server.url == url
    assert draw(server).status_code == 200


def test_the_second_call_can_be_refused_and_the_server_come_back_by_itself(server):
    server.fault("txt2img", Fault.REFUSED.but(back_after_s=0.05), on_call=2)
    with requests.Session() as session:
        post = lambda: session.post(f"{server.url}/sdapi/v1/txt2img", json=TINY, timeout=10)  # noqa: E731  # read where it stands
        assert post().status_code == 200
        with pytest.raises(requests.ConnectionError, match="Connection refused"):
            post()
        assert server.wait_for(lambda: not server.down)
        assert post().status_code == 200


def test_a_refusal_may_follow_another_fault_and_another_refusal(server):
    down = Fault.REFUSED.but(back_after_s=None)
    server.faults("txt2img", [Fault.RESET, down, down])
    for _ in range(2):  # the reset call, and after the comeback the one that is to be refused again
        with pytest.raises(requests.ConnectionError):
            draw(server)
        assert refused(server)
        server.come_back()
    assert draw(server).status_code == 200


def test_the_first_call_can_be_refused_until_the_server_comes_back(server):
    server.fault("txt2img", Fault.REFUSED.but(back_after_s=None))
    assert refused(server)
    assert server.calls == ()
    server.come_back()
    assert draw(server).status_code == 200


def test_a_server_that_dies_loses_its_jobs_and_comes_back_freshly_started(server):
    """The running job and the queued one are lost, the connection is reset, the state is that of a new process."""
    server.fault("txt2img", Fault.DIES.but(back_after_s=None), on_call=2)
    assert draw(server).status_code == 200
    with ThreadPoolExecutor(2) as pool:
        hold = server.hold("txt2img", step=1)
        dying = pool.submit(draw, server)
        assert hold.wait_reached()
        queued = pool.submit(draw, server)
        assert server.wait_queued(1)
        hold.release()
        for answer in (dying, queued):
            with pytest.raises(requests.ConnectionError):
                answer.result()
    assert refused(server)
    server.come_back()
    seen = requests.get(f"{server.url}/sdapi/v1/progress", timeout=10).json()
    assert (seen["state"]["job_timestamp"], seen["state"]["job_count"]) == ("0", 0)
    assert [job.outcome for job in server.jobs] == ["done", "lost", "lost"]
    assert draw(server).status_code == 200


def test_every_ready_fault_has_its_own_name_and_is_found_by_it():
    names = [fault.name for fault in Fault.every()]
    assert len(set(names)) == len(names)
    assert all(getattr(Fault, fault.name) is fault for fault in Fault.every())


@pytest.mark.sampled(15)
@pytest.mark.parametrize("fault", Fault.every(), ids=lambda fault: fault.name)
@pytest.mark.parametrize("target", ["txt2img", "img2img", "adetailer", "upscale", "progress"])
def test_after_any_fault_on_any_stage_the_server_is_well_again(fault, target):
    """Whatever happened to one call, the next one is answered."""
    with WebUIServer() as server:
        image = draw(server).json()["images"][0]
        server.fault(target, fault.but(seconds=0.01, back_after_s=0.0))
        call(server, target, image, timeout=0.25)
        server.unstick()
        assert server.wait_for(lambda: not server.down)
        assert server.wait_idle()
        assert call(server, target, image) == 200


def call(server, target, image, timeout=10):
    """The status of one call, None where no answer came in time."""
    path = {"adetailer": "img2img", "upscale": "extra-single-image"}.get(target, target)
    args = [True, True, {"ad_model": "mediapipe_face_full"}]
    scripts = {"ADetailer": {"args": args}} if target == "adetailer" else {}
    body = {**TINY, "init_images": [image], "image": image, "upscaler_1": "Lanczos", "alwayson_scripts": scripts}
    method = "GET" if target == "progress" else "POST"
    try:
        return requests.request(method, f"{server.url}/sdapi/v1/{path}", json=body, timeout=timeout).status_code
    except requests.RequestException:
        return None
