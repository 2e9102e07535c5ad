"""The WebUI server's behaviour in time: queue, interrupt, progress, switches, auth, ADetailer, counters."""

import base64
import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from PIL import Image

from rxpipe.testing.servers.webui import ManualClock, Prepared, WebUIServer, noise, openapi, serve_forever

TINY = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, "seed": 1}
IDENTITY = {"accept-encoding": "identity"}


@pytest.fixture(params=["forge", "a1111"])
def server(request):
    with WebUIServer(request.param) as started:
        yield started


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as started:
        yield started


def post(server, path, body=None, **options):
    return requests.post(f"{server.url}/sdapi/v1/{path}", json=body, timeout=10, **options)


def get(server, path, **options):
    return requests.get(f"{server.url}/sdapi/v1/{path}", timeout=10, **options)


def progress(server):
    return get(server, "progress").json()


def picture(answer, number=0):
    body = answer.json()
    image = Image.open(io.BytesIO(base64.b64decode(body["images"][number] if "images" in body else body["image"])))
    image.load()
    return image


def upload(size=(64, 64), color="gray"):
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_a_picture_carries_its_infotext_and_its_seed(server):
    answer = post(server, "txt2img", {**TINY, "negative_prompt": "dogs"})
    info = json.loads(answer.json()["info"])
    assert picture(answer).info["parameters"] == info["infotexts"][0]
    assert info["infotexts"][0].startswith("a cat\nNegative prompt: dogs\nSteps: 4, Sampler: Euler, ")
    assert picture(answer).size == (64, 64)


def test_a_prompt_outside_latin_1_comes_back_unharmed(server):
    answer = post(server, "txt2img", {**TINY, "prompt": "ein Fuß, 猫"})
    assert picture(answer).info["parameters"].startswith("ein Fuß, 猫\nSteps: 4")
    assert answer.json()["parameters"]["prompt"] == "ein Fuß, 猫"


def test_the_same_request_gives_the_same_picture_and_another_seed_another(server):
    first, again, other = (post(server, "txt2img", {**TINY, "seed": seed}).json()["images"] for seed in (1, 1, 2))
    assert first == again != other


def test_a_seed_of_minus_1_is_drawn_and_told_in_info_only(server):
    body = post(server, "txt2img", {**TINY, "seed": -1}).json()
    info = json.loads(body["info"])
    assert body["parameters"]["seed"] == -1
    assert info["seed"] == info["all_seeds"][0] >= 0
    assert f"Seed: {info['seed']}, " in info["infotexts"][0]


def test_a_saved_batch_begins_with_its_grid(server):
    """With save_images the grid comes first, and index_of_first_image says so."""
    answer = post(server, "txt2img", {**TINY, "batch_size": 2, "n_iter": 2, "save_images": True})
    info = json.loads(answer.json()["info"])
    assert info["index_of_first_image"] == 1
    assert [picture(answer, number).size for number in range(5)] == [(128, 128), *[(64, 64)] * 4]
    assert (len(info["infotexts"]), info["all_seeds"]) == (5, [1, 2, 3, 4])
    assert picture(answer).mode == ("RGBA" if server.flavour.name == "forge" else "RGB")


def test_a_user_s_own_drawing_is_used():
    seen = []

    def draw(request):
        seen.append((request.kind, request.width, request.seed, request.options.get("upscaler_1")))
        return noise(request)

    with WebUIServer(draw=draw) as server:
        image = post(server, "txt2img", TINY).json()["images"][0]
        post(server, "extra-single-image", {"image": image, "upscaler_1": "Lanczos", "upscaling_resize": 2})
    assert seen == [("txt2img", 64, 1, None), ("upscale", 128, 0, "Lanczos")]


def test_prepared_pictures_are_drawn_beforehand_and_served():
    pictures = Prepared([(64, 64)], variants=2)
    with WebUIServer(draw=pictures) as server:
        one, two, three = (post(server, "txt2img", {**TINY, "seed": seed}) for seed in (2, 3, 4))
    assert picture(one).tobytes() == picture(three).tobytes() != picture(two).tobytes()


def test_an_upscaled_picture_keeps_the_text_of_its_input(server):
    image = post(server, "txt2img", TINY).json()["images"][0]
    body = {"image": image, "upscaling_resize": 1.5, "upscaler_1": "Lanczos"}
    bigger = picture(post(server, "extra-single-image", body))
    assert bigger.size == (96, 96)
    assert bigger.info["parameters"].startswith("a cat\nSteps: 4")


def test_a_picture_told_to_fit_a_size_gets_it(server):
    body = {"image": upload((64, 32)), "resize_mode": 1, "upscaling_resize_w": 128, "upscaling_resize_h": 128}
    crop = post(server, "extra-single-image", {**body, "upscaler_1": "Lanczos"})
    whole = post(server, "extra-single-image", {**body, "upscaler_1": "Lanczos", "upscaling_crop": False})
    assert (picture(crop).size, picture(whole).size) == ((128, 128), (256, 128))


def test_a_jpeg_is_taken_as_input_too(server):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "JPEG")
    image = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    assert post(server, "img2img", {**TINY, "init_images": [image]}).status_code == 200


# -- ADetailer ---------------------------------------------------------------------------------------------------------


def detail(image, *args, **body):
    return {**TINY, "init_images": [image], "alwayson_scripts": {"ADetailer": {"args": list(args)}}, **body}


FACE = {"ad_model": "mediapipe_face_short"}


def test_adetailer_alone_repaints_the_middle_and_nothing_else(server):
    answer = post(server, "img2img", detail(upload((128, 96)), True, True, FACE))
    pixels = picture(answer)
    assert pixels.size == (128, 96)
    assert pixels.getpixel((2, 2)) == (128, 128, 128)
    assert pixels.getpixel((64, 48)) != (128, 128, 128)
    assert server.jobs[0].stage == "adetailer"


def test_a_picture_in_which_nothing_is_found_comes_back_pixel_for_pixel():
    with WebUIServer(draw=lambda request: request.source or noise(request)) as server:
        answer = post(server, "img2img", detail(upload(color="teal"), True, True, FACE))
    assert picture(answer).getcolors() == [(64 * 64, (0, 128, 128))]
    assert "ADetailer model: mediapipe_face_short" in picture(answer).info["parameters"]


@pytest.mark.parametrize(
    "args",
    [[True, True, {**FACE, "ad_no_such": 1}], [True, True, {**FACE, "ad_confidence": 2}], [True, True, "face"], []],
)
def test_arguments_that_adetailer_cannot_read_turn_it_off_without_a_word(server, args):
    """The call is a plain img2img then, answered with 200, and its infotext does not mention ADetailer."""
    answer = post(server, "img2img", detail(upload(), *args))
    assert answer.status_code == 200
    assert "ADetailer" not in json.loads(answer.json()["info"])["infotexts"][0]


def test_a_mask_turns_adetailer_off_where_it_was_to_skip_img2img(server):
    answer = post(server, "img2img", detail(upload(), True, True, FACE, mask=upload(color="white")))
    assert "ADetailer" not in json.loads(answer.json()["info"])["infotexts"][0]


def test_an_unknown_detector_changes_nothing_and_is_named_all_the_same(server):
    answer = post(server, "img2img", detail(upload(color="teal"), True, True, {"ad_model": "no_such.pt"}))
    assert picture(answer).getcolors() == [(64 * 64, (0, 128, 128))]
    assert "ADetailer model: no_such.pt" in picture(answer).info["parameters"]


def test_two_units_are_both_told(server):
    hand = {"ad_model": "mediapipe_face_full", "ad_prompt": "a hand, open", "ad_use_steps": True, "ad_steps": 3}
    text = picture(post(server, "img2img", detail(upload(), True, True, FACE, hand))).info["parameters"]
    assert 'ADetailer model 2nd: mediapipe_face_full, ADetailer prompt 2nd: "a hand, open"' in text
    assert "ADetailer use separate steps 2nd: True, ADetailer steps 2nd: 3" in text


def test_a_server_without_the_extension_refuses_the_script_and_has_no_schema():
    with WebUIServer(adetailer=False) as server:
        assert requests.get(f"{server.url}/adetailer/v1/schema", timeout=10).status_code == 404
        assert "adetailer" not in get(server, "scripts").json()["img2img"]
        assert post(server, "img2img", detail(upload(), True, True, FACE)).status_code == 422


# -- queue -------------------------------------------------------------------------------------------------------------


def test_jobs_run_one_at_a_time_in_the_order_of_their_arrival(server, pool):
    hold = server.hold("txt2img")
    first = pool.submit(post, server, "txt2img", TINY)
    assert hold.wait_reached()
    others = []
    for number, path in enumerate(("txt2img", "extra-single-image", "txt2img"), 1):
        body = {"image": upload(), "upscaler_1": "Lanczos"} if path.startswith("extra") else TINY
        others.append(pool.submit(post, server, path, body))
        assert server.wait_queued(number)
    hold.release()
    assert [answer.result().status_code for answer in (first, *others)] == [200] * 4
    assert [job.stage for job in sorted(server.jobs, key=lambda job: job.started_s)] == [
        "txt2img",
        "txt2img",
        "upscale",
        "txt2img",
    ]
    assert (server.max_active_drawings, server.max_in_flight) == (1, 4)


def test_reading_calls_and_early_refusals_are_answered_during_a_job(server, pool):
    hold = server.hold("txt2img")
    running = pool.submit(post, server, "txt2img", TINY)
    assert hold.wait_reached()
    assert get(server, "samplers").status_code == 200
    assert post(server, "txt2img", {**TINY, "steps": "many"}).status_code == 422
    assert post(server, "extra-single-image", {"image": "no picture"}).status_code == 500
    hold.release()
    assert running.result().status_code == 200


def test_a_client_that_goes_away_does_not_stop_its_job(server):
    hold = server.hold("txt2img")
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{server.url}/sdapi/v1/txt2img", json=TINY, timeout=(5, 0.05))
    assert hold.wait_reached()
    hold.release()
    assert server.wait_for(lambda: server.jobs[0].outcome == "done")


def test_a_job_takes_the_latency_of_its_stage_on_the_server_s_clock(pool):
    clock = ManualClock()
    with WebUIServer(clock=clock, latency_s={"txt2img": 3600}) as server:
        answer = pool.submit(post, server, "txt2img", TINY)
        assert server.wait_running("txt2img")
        clock.advance(3599)
        assert server.wait_for(lambda: server.site.queue.state.sampling_step == 3)
        assert server.jobs[0].outcome == "running"
        clock.advance(1)
        assert answer.result().status_code == 200
        assert server.busy_s == pytest.approx(3600)


def test_busy_time_is_what_the_queue_was_held():
    with WebUIServer(latency_s=0.05) as server:
        began = time.monotonic()
        for _ in range(2):
            post(server, "txt2img", TINY)
        assert 0.1 <= server.busy_s <= time.monotonic() - began


@pytest.mark.slow
def test_forty_pending_calls_leave_no_thread_for_a_question(server):
    """The recorded servers answer nothing, not even /progress, while 40 calls wait in the queue."""
    hold = server.hold("txt2img")
    with ThreadPoolExecutor(40) as pool:
        answers = [pool.submit(post, server, "txt2img", TINY) for _ in range(40)]
        assert server.wait_queued(39)
        with pytest.raises(requests.ReadTimeout):
            requests.get(f"{server.url}/sdapi/v1/progress", timeout=0.1)
        hold.release()
        assert [answer.result().status_code for answer in answers] == [200] * 40
    assert progress(server)["state"]["job_count"] == 0


# -- interrupt and skip ------------------------------------------------------------------------------------------------


def test_an_interrupt_ends_the_running_job_with_200_and_what_there_is(server, pool):
    """n_iter 2, stopped in the first: one picture, both seeds, the requested steps."""
    hold = server.hold("txt2img", step=2)
    answer = pool.submit(post, server, "txt2img", {**TINY, "n_iter": 2})
    assert hold.wait_reached()
    assert post(server, "interrupt").json() == {}
    body = answer.result().json()
    info = json.loads(body["info"])
    assert (len(body["images"]), info["all_seeds"], len(info["infotexts"]), info["steps"]) == (1, [1, 2], 1, 4)
    assert [(hit.job.number, hit.job.outcome) for hit in server.interrupts] == [(1, "interrupted")]
    assert progress(server)["state"]["interrupted"] is True


def test_an_unfinished_picture_is_not_the_finished_one(server, pool):
    whole = post(server, "txt2img", TINY).json()["images"]
    hold = server.hold("txt2img", step=2)
    answer = pool.submit(post, server, "txt2img", TINY)
    assert hold.wait_reached()
    post(server, "interrupt")
    assert len(answer.result().json()["images"]) == 1
    assert answer.result().json()["images"] != whole


def test_an_interrupt_while_idle_is_lost(server):
    post(server, "interrupt")
    assert len(post(server, "txt2img", {**TINY, "n_iter": 2}).json()["images"]) == 2
    assert (server.interrupts[0].job, server.jobs[0].outcome) == (None, "done")


def test_an_interrupt_leaves_the_queued_job_alone(server, pool):
    hold = server.hold("txt2img")
    first = pool.submit(post, server, "txt2img", TINY)
    assert hold.wait_reached()
    second = pool.submit(post, server, "txt2img", {**TINY, "n_iter": 2})
    assert server.wait_queued(1)
    post(server, "interrupt")
    hold.release()
    assert len(first.result().json()["images"]) == 1
    assert len(second.result().json()["images"]) == 2
    assert [job.outcome for job in server.jobs] == ["interrupted", "done"]


def test_an_interrupt_while_the_model_loads_leaves_no_picture_at_all(pool):
    with WebUIServer(clock=ManualClock(), switch_s=60) as server:
        body = {**TINY, "override_settings": {"sd_model_checkpoint": "tiny-sd15"}}
        answer = pool.submit(post, server, "txt2img", body)
        assert server.wait_for(lambda: server.switches == ("tiny-sd15",))
        post(server, "interrupt")
        body = answer.result().json()
    assert (body["images"], len(json.loads(body["info"])["infotexts"])) == ([], 1)


def test_skip_ends_the_batch_and_goes_on_with_the_next(server, pool):
    hold = server.hold("txt2img", step=2)
    answer = pool.submit(post, server, "txt2img", {**TINY, "n_iter": 2})
    assert hold.wait_reached()
    assert post(server, "skip").json() is None
    assert hold.wait_reached(times=2)
    hold.release()
    assert len(answer.result().json()["images"]) == 2
    assert [hit.job.number for hit in server.skips] == [1]


# -- progress ----------------------------------------------------------------------------------------------------------


def test_progress_begins_at_1_percent_with_the_last_job_s_step_count(pool):
    clock = ManualClock()
    with WebUIServer(clock=clock, latency_s=60) as server:
        first = pool.submit(post, server, "txt2img", {**TINY, "steps": 9})
        assert server.wait_running()
        clock.advance(60)
        assert first.result().status_code == 200
        second = pool.submit(post, server, "txt2img", TINY)
        assert server.wait_for(lambda: server.site.queue.state.job_count == 1)
        clock.advance(5)
        seen = progress(server)
        assert (seen["progress"], seen["state"]["sampling_steps"]) == (0.01, 9)
        assert seen["eta_relative"] == pytest.approx(5 / 0.01 - 5)
        clock.advance(55)
        assert second.result().status_code == 200


def test_job_count_is_minus_1_while_the_model_loads(pool):
    clock = ManualClock()
    with WebUIServer(clock=clock, switch_s=60) as server:
        body = {**TINY, "override_settings": {"sd_model_checkpoint": "tiny-sd15"}}
        answer = pool.submit(post, server, "txt2img", body)
        assert server.wait_for(lambda: server.switches == ("tiny-sd15",))
        seen = progress(server)
        clock.advance(61)
        assert answer.result().status_code == 200
    assert (seen["progress"], seen["state"]["job_count"], seen["state"]["job"]) == (0.01, -1, "scripts_txt2img")


def test_progress_counts_steps_and_batches(server, pool):
    hold = server.hold("txt2img", step=3)
    answer = pool.submit(post, server, "txt2img", {**TINY, "n_iter": 2})
    assert hold.wait_reached()
    first = progress(server)
    post(server, "skip")
    assert hold.wait_reached(times=2)
    second = progress(server)
    hold.release()
    answer.result()
    assert first["progress"] == pytest.approx(0.01 + 2 / 4 / 2)
    assert second["progress"] == pytest.approx(0.01 + 1 / 2 + 2 / 4 / 2)
    assert [seen["state"]["job"] for seen in (first, second)] == ["Batch 1 out of 2", "Batch 2 out of 2"]


def test_an_idle_server_reports_zero_with_leftovers(server):
    post(server, "txt2img", TINY)
    seen = progress(server)
    assert (seen["progress"], seen["state"]["job"], seen["state"]["job_count"]) == (0.0, "", 0)
    assert (seen["state"]["job_no"], seen["state"]["sampling_steps"]) == (1, 4)


def test_a_failed_upscale_leaves_the_server_looking_busy(server):
    post(server, "extra-single-image", {"image": upload(), "upscaler_1": "NoSuch"})
    stuck = progress(server)
    assert (stuck["progress"], stuck["state"]["job"], stuck["state"]["job_count"]) == (1.0, "Upscale", 1)
    assert server.idle
    post(server, "txt2img", TINY)
    assert progress(server)["progress"] == 0.0


def test_a_preview_exists_from_the_tenth_step_and_can_be_left_out(server, pool):
    early, late = server.hold("txt2img", step=9), server.hold("txt2img", step=15)
    answer = pool.submit(post, server, "txt2img", {**TINY, "steps": 20})
    assert early.wait_reached()
    before = progress(server)["current_image"]
    early.release()
    assert late.wait_reached()
    seen = progress(server)["current_image"]
    without = get(server, "progress?skip_current_image=true").json()["current_image"]
    late.release()
    answer.result()
    assert (before, without) == (None, None)
    assert Image.open(io.BytesIO(base64.b64decode(seen))).size == (16, 16)


def test_img2img_runs_the_steps_its_strength_leaves(server, pool):
    hold = server.hold("img2img", step=1)
    body = {**TINY, "steps": 20, "denoising_strength": 0.5, "init_images": [upload()]}
    answer = pool.submit(post, server, "img2img", body)
    assert hold.wait_reached()
    assert progress(server)["state"]["sampling_steps"] == 11
    hold.release()
    answer.result()


# -- /internal/progress ------------------------------------------------------------------------------------------------


def internal(server, task):
    return requests.post(f"{server.url}/internal/progress", json={"id_task": task}, timeout=10)


def test_internal_progress_tells_each_task_by_its_id(server, pool):
    hold = server.hold("txt2img", step=3)
    mine = pool.submit(post, server, "txt2img", {**TINY, "force_task_id": "mine"})
    assert hold.wait_reached()
    other = pool.submit(post, server, "txt2img", {**TINY, "force_task_id": "other"})
    assert server.wait_queued(1)
    active, queued = internal(server, "mine").json(), internal(server, "other").json()
    hold.release()
    mine.result(), other.result()
    done, unknown = internal(server, "mine").json(), internal(server, "nobody").json()
    states = [[seen[name] for name in ("active", "queued", "completed")] for seen in (active, queued, done, unknown)]
    assert states == [[True, False, False], [False, True, False], [False, False, True], [False, False, False]]
    assert (active["progress"], queued["textinfo"], unknown["textinfo"]) == (0.5, "In queue: 1/1", "Waiting...")


def test_a_task_that_raised_stays_active_until_the_next_one_starts(server):
    post(server, "txt2img", {**TINY, "steps": 0, "force_task_id": "mine"})
    assert internal(server, "mine").json()["active"] is True
    post(server, "txt2img", TINY)
    assert internal(server, "mine").json()["active"] is False


def test_a_server_without_its_page_has_no_internal_progress():
    with WebUIServer(nowebui=True) as server:
        assert internal(server, "mine").status_code == 404
        assert requests.get(server.url, timeout=10).status_code == 404
        assert get(server, "progress").status_code == 200


def test_a_server_without_api_has_its_page_and_nothing_else():
    with WebUIServer(api=False) as server:
        assert requests.get(server.url, timeout=10).status_code == 200
        answer = get(server, "sd-models")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


# -- checkpoints and options -------------------------------------------------------------------------------------------


def with_checkpoint(name, **settings):
    return {**TINY, "override_settings": {"sd_model_checkpoint": name}, **settings}


def test_only_a_change_of_checkpoint_is_a_switch():
    with WebUIServer(checkpoints=["one", "two"]) as server:
        for name in ("one", "two", "two", "one"):
            info = json.loads(post(server, "txt2img", with_checkpoint(name)).json()["info"])
            assert info["sd_model_name"] == name
        assert server.switches == ("two", "one")


def test_an_override_is_over_with_its_request_unless_it_says_otherwise():
    with WebUIServer(checkpoints=["one", "two"]) as server:
        post(server, "txt2img", with_checkpoint("two"))
        assert json.loads(post(server, "txt2img", TINY).json()["info"])["sd_model_name"] == "one"
        post(server, "txt2img", with_checkpoint("two", override_settings_restore_afterwards=False))
        assert json.loads(post(server, "txt2img", TINY).json()["info"])["sd_model_name"] == "two"
        assert get(server, "options").json()["sd_model_checkpoint"] == "two"


def test_options_are_kept_over_a_restart_and_tell_which_checkpoint_is_loaded():
    with WebUIServer(checkpoints=["one", "two"]) as server:
        assert post(server, "options", {"sd_model_checkpoint": "two"}).json() is None
        server.die()
        server.come_back()
        assert json.loads(post(server, "txt2img", TINY).json()["info"])["sd_model_name"] == "two"
        assert server.switches == ()


def test_clip_skip_and_vae_travel_in_the_override_settings(server):
    """Forge takes its VAE as a module, and does not look at `sd_vae`."""
    name = "fine.safetensors"
    server.setup.modules = (name,)
    overrides = {"CLIP_stop_at_last_layers": 2, "sd_vae": name}
    if server.flavour.name == "forge":
        overrides["forge_additional_modules"] = [f"/models/VAE/{name}", "/models/VAE/none.safetensors"]
    info = json.loads(post(server, "txt2img", {**TINY, "override_settings": overrides}).json()["info"])
    text = info["infotexts"][0]
    assert info["clip_skip"] == 2
    if server.flavour.name == "forge":
        assert info["sd_vae_name"] is None
        assert "Clip skip: 2, Module 1: fine, Version" in text
    else:
        assert info["sd_vae_name"] == name
        assert "VAE: fine.safetensors, Clip skip: 2, Version" in text


def test_an_option_that_is_not_in_the_server_s_file_stays_overridden(server):
    """As on the real ones: only what the file holds is put back, whatever becomes of the request."""
    leaking = {**TINY, "override_settings": {"CLIP_stop_at_last_layers": 2}}
    assert post(server, "options", {"eta_ancestral": 0.5}).json() is None
    post(server, "txt2img", {**TINY, "override_settings": {"eta_ancestral": 0.9, "CLIP_stop_at_last_layers": 3}})
    left = get(server, "options").json()
    assert (left["eta_ancestral"], left["CLIP_stop_at_last_layers"]) == (0.5, 3)
    post(server, "txt2img", leaking)
    assert get(server, "options").json()["CLIP_stop_at_last_layers"] == 3  # it is held now, with the wrong value
    post(server, "options", {"CLIP_stop_at_last_layers": 1})
    post(server, "txt2img", {**leaking, "steps": 0})
    assert get(server, "options").json()["CLIP_stop_at_last_layers"] == 1


def test_hires_on_forge_needs_its_modules_and_takes_a_cfg_of_1(server):
    body = {**TINY, "enable_hr": True, "hr_scale": 2}
    with requests.Session() as session:
        bare = session.post(f"{server.url}/sdapi/v1/txt2img", json=body, timeout=10)
        forge = server.flavour.name == "forge"
        assert bare.status_code == (500 if forge else 200)
        if forge:
            assert bare.json()["message"] == "argument of type 'NoneType' is not iterable"
    whole = post(server, "txt2img", {**body, "hr_additional_modules": ["Use same choices"]})
    text = json.loads(whole.json()["info"])["infotexts"][0]
    assert ("Hires CFG Scale: 1.0" in text) == forge
    assert picture(whole).size == (128, 128)


def test_forge_ends_the_connection_after_an_exception_without_saying_so():
    with WebUIServer() as server, requests.Session() as session:
        failed = session.post(f"{server.url}/sdapi/v1/txt2img", json={**TINY, "steps": 0}, timeout=10)
        assert failed.status_code == 500
        assert "connection" not in failed.headers
        with pytest.raises(requests.ConnectionError):
            session.get(f"{server.url}/sdapi/v1/progress", timeout=10)
        assert session.get(f"{server.url}/sdapi/v1/progress", timeout=10).ok


@pytest.mark.parametrize("name", ["euler a", "Euler A", "k_euler_a"])
def test_names_are_matched_letter_by_letter(server, name):
    info = json.loads(post(server, "txt2img", {**TINY, "sampler_name": name, "scheduler": "KARRAS"}).json()["info"])
    assert info["sampler_name"] == "DPM++ 2M"
    assert "Schedule type: Karras" in info["infotexts"][0]  # its own


def test_a_checkpoint_in_a_folder_is_not_known_by_its_file_alone():
    with WebUIServer(checkpoints=["one", "sub/two"]) as server:
        for name, used in (
            ("two.safetensors", "one"),
            ("TWO", "one"),
            ("sub_two", "two"),
            ("sub/two.safetensors", "two"),
        ):
            assert json.loads(post(server, "txt2img", with_checkpoint(name)).json()["info"])["sd_model_name"] == used


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_iter": 0},
        {"batch_size": 0},
        {"width": 0},
        {"refiner_checkpoint": "none"},
        {"enable_hr": True, "hr_upscaler": "lanczos", "hr_additional_modules": []},
    ],
)
def test_values_that_no_check_refuses_fail_in_the_job(server, wrong):
    assert post(server, "txt2img", {**TINY, **wrong}).status_code == 500
    assert server.wait_idle()


def test_a_post_without_its_body_is_refused(server):
    assert post(server, "txt2img").status_code == 422
    answer = requests.post(f"{server.url}/internal/progress", json={"id_task": 5}, timeout=10)
    assert answer.status_code == (422 if server.flavour.name == "forge" else 200)


def test_the_page_s_queue_has_a_state_of_its_own(server):
    assert requests.get(f"{server.url}/queue/status", timeout=10).json()["queue_size"] == 0
    server.setup.nowebui = True
    assert requests.get(f"{server.url}/queue/status", timeout=10).status_code == 404


def test_several_pictures_are_upscaled_in_one_request(server):
    images = [{"data": upload(), "name": f"{number}.png"} for number in range(2)]
    body = {"imageList": images, "upscaler_1": "Lanczos", "upscaling_resize": 2}
    assert len(post(server, "extra-batch-images", body).json()["images"]) == 2


def test_scripts_append_pictures_of_their_own(server):
    """ControlNet the map that it detected, one per unit; nothing in `info` tells of it."""
    server.setup.extensions = () if server.flavour.name == "forge" else ("controlnet",)
    units = [{"image": upload(), "module": "canny"}, {"enabled": False}]
    answer = post(server, "txt2img", {**TINY, "alwayson_scripts": {"ControlNet": {"args": units}}}).json()
    info = json.loads(answer["info"])
    assert len(answer["images"]) == 2
    assert (len(info["infotexts"]), info["index_of_first_image"]) == (1, 0)


@pytest.mark.parametrize(("name", "begin"), [("jpg", b"\xff\xd8"), ("webp", b"RIFF")], ids=["jpg", "webp"])
def test_the_option_samples_format_changes_every_answer(server, name, begin):
    """And no text is in the file; overriding it in a request does nothing, as the option is put back before."""
    post(server, "options", {"samples_format": name})
    answer = post(server, "txt2img", {**TINY, "override_settings": {"samples_format": "png"}})
    data = base64.b64decode(answer.json()["images"][0])
    assert data.startswith(begin)
    assert b"Steps:" not in data
    assert "Steps:" in json.loads(answer.json()["info"])["infotexts"][0]
    single = post(server, "extra-single-image", {"image": upload(), "upscaler_1": "Lanczos"}).json()
    assert base64.b64decode(single["image"]).startswith(begin)
    post(server, "options", {"samples_format": "avif"})
    assert post(server, "txt2img", TINY).json()["detail"] == "Invalid image format"


def test_without_enable_pnginfo_no_text_is_in_the_file(server):
    post(server, "options", {"enable_pnginfo": False})
    answer = post(server, "txt2img", TINY)
    assert b"parameters" not in base64.b64decode(answer.json()["images"][0])


def test_a_masked_img2img_says_how_it_was_masked(server):
    body = {**TINY, "init_images": [upload()], "mask": upload(), "mask_blur": 3, "inpaint_full_res": False}
    text = json.loads(post(server, "img2img", body).json()["info"])["infotexts"][0]
    assert "Mask blur: 3, Inpaint area: Whole picture, Masked content: fill" in text


def test_styles_and_loras_are_used_where_they_are_known(server):
    server.setup.styles = {"film": ("{prompt}, film grain", "blur")}
    server.setup.loras = ("fine",)
    body = {**TINY, "prompt": "a cat <lora:fine:1> <lora:none:1>", "styles": ["film", "none"]}
    info = json.loads(post(server, "txt2img", body).json()["info"])
    assert info["prompt"] == "a cat <lora:fine:1> <lora:none:1>, film grain"
    assert 'Lora hashes: "fine: ' in info["infotexts"][0]
    assert "none: " not in info["infotexts"][0]
    assert "film" in [style["name"] for style in get(server, "prompt-styles").json()]
    assert [lora["name"] for lora in get(server, "loras").json()] == ["fine"]


def test_an_upscaler_without_its_weights_only_resizes(server):
    server.setup.missing = frozenset({"R-ESRGAN 4x+"})
    body = {"image": upload(), "upscaling_resize": 2}
    one, two = (
        picture(post(server, "extra-single-image", {**body, "upscaler_1": name}))
        for name in ("R-ESRGAN 4x+", "RandomESRGAN_4x")
    )
    assert one.size == two.size == (128, 128)
    assert one.getextrema() == ((128, 128),) * 3
    assert two.getextrema() != one.getextrema()


def test_in_its_first_moments_adetailer_is_missing():
    with WebUIServer(adetailer_late=1) as server:
        path = f"{server.url}/adetailer/v1/version"
        assert [requests.get(path, timeout=10).status_code for _ in range(2)] == [404, 200]


def test_a_title_gets_its_hash_with_the_first_load():
    with WebUIServer(checkpoints=["one", "two"], hashed=False) as server:
        before = get(server, "sd-models").json()[1]
        post(server, "txt2img", with_checkpoint("two"))
        after = get(server, "sd-models").json()[1]
    assert (before["title"], before["hash"]) == ("two.safetensors", None)
    assert after["title"] == f"two.safetensors [{after['hash']}]"


def test_a_sampler_with_its_schedule_in_the_name_is_taken_apart(server):
    info = json.loads(post(server, "txt2img", {**TINY, "sampler_name": "Euler a Karras"}).json()["info"])
    assert info["sampler_name"] == "Euler a"
    assert "Sampler: Euler a, Schedule type: Karras, " in info["infotexts"][0]


# -- connections, auth, counters ---------------------------------------------------------------------------------------


def test_a_session_keeps_its_connection(server):
    with requests.Session() as session:
        for _ in range(3):
            session.get(f"{server.url}/sdapi/v1/samplers", timeout=10)
    assert server.connections == 1


def test_bodies_of_1000_bytes_are_gzipped_where_the_client_takes_it(server):
    packed, plain, short = get(server, "samplers"), get(server, "samplers", headers=IDENTITY), get(server, "memory")
    assert [answer.headers.get("content-encoding") for answer in (packed, plain, short)] == ["gzip", None, None]
    assert packed.json() == plain.json()


def test_only_the_api_is_guarded_and_credentials_are_never_kept():
    with WebUIServer(auth=("user", "pass")) as server:
        assert get(server, "progress").status_code == 401
        assert get(server, "progress", auth=("user", "pass")).status_code == 200
        assert requests.get(f"{server.url}/openapi.json", timeout=10).status_code == 200
        bad_json = requests.post(f"{server.url}/sdapi/v1/txt2img", data="{", timeout=10)
        assert bad_json.status_code == 422
        assert "authorization" not in {name for call in server.calls for name in call.headers}


def test_calls_are_counted_with_their_bodies(server):
    began = time.monotonic()
    post(server, "txt2img", TINY)
    progress(server)
    assert [call.body["prompt"] for call in server.calls_to("txt2img")] == ["a cat"]
    assert [call.status for call in server.calls] == [200, 200]
    assert len(server.posts_after(began)) == 1
    assert server.posts_after(time.monotonic()) == ()


def test_long_strings_of_bodies_are_forgotten_where_that_is_wished():
    with WebUIServer(keep_bodies=False) as server:
        post(server, "img2img", {**TINY, "init_images": ["x" * 5000]})
        assert server.calls[0].body["init_images"] == ["xxxxxxxxxxxxxxxxxxxx... (5000 characters)"]


def test_a_chunked_body_is_read(server):
    answer = requests.post(f"{server.url}/sdapi/v1/txt2img", data=iter([json.dumps(TINY).encode()]), timeout=10)
    assert answer.status_code == 200


def test_stopping_ends_a_running_job_and_every_thread_at_once(pool):
    server = WebUIServer(latency_s=3600).start()
    answer = pool.submit(post, server, "txt2img", TINY)
    assert server.wait_running()
    server.stop()
    with pytest.raises(requests.ConnectionError):
        answer.result(timeout=60)  # of the 3,600 s that the job takes
    assert server.jobs[0].outcome == "lost"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(f"webui-server-{server.port}")]


def test_serve_forever_says_where_and_ends_with_ctrl_c_however_early():
    """Even in the moment in which the URL is printed."""
    said = []

    def announce(line):
        said.append(line)
        if len(said) == 1:
            raise KeyboardInterrupt

    serve_forever(WebUIServer(), announce)
    assert said[0].startswith("listening on http://127.0.0.1:")
    assert said[1:] == ["stopped after 0 calls, 0 jobs"]


def test_each_caller_gets_an_openapi_document_of_its_own():
    openapi("forge").clear()
    assert openapi("forge")["openapi"] == "3.1.0"
    assert openapi("a1111")["openapi"] == "3.0.2"


def test_an_unknown_flavour_is_refused_at_once():
    with pytest.raises(ValueError, match="one of forge, a1111, neo, reforge, classic, amd, sdnext, not 'comfyui'"):
        WebUIServer("comfyui")


# -- requests that no recording has ------------------------------------------------------------------------------------

HR = {"enable_hr": True, "hr_additional_modules": ["Use same choices"]}
IMAGE = {"init_images": ["PICTURE"]}
EXTRA = {"image": "PICTURE", "upscaler_1": "Lanczos"}
REQUESTS = [
    ("txt2img", {"sampler_name": "euler"}, 200, "Sampler: DPM++ 2M,"),
    ("txt2img", {"sampler_name": "k_euler"}, 200, "Sampler: DPM++ 2M,"),
    ("txt2img", {"sampler_name": "Euler", "scheduler": "karras"}, 200, "Schedule type: Karras"),
    ("txt2img", {"sampler_name": "Euler", "scheduler": "Karras"}, 200, "Schedule type: Karras"),
    ("txt2img", {"sampler_name": "Euler", "scheduler": "KARRAS"}, 200, "Schedule type: Automatic"),
    ("txt2img", {"sampler_name": "DPM++ SDE Karras"}, 200, "Sampler: DPM++ SDE, Schedule type: Karras"),
    ("txt2img", {"steps": 0}, 500, "ZeroDivisionError"),
    ("txt2img", {"n_iter": 0}, 500, "IndexError"),
    ("txt2img", {"batch_size": 0}, 500, "IndexError"),
    ("txt2img", {"width": 0}, 500, "RuntimeError"),
    ("txt2img", {"height": 0}, 500, "RuntimeError"),
    ("txt2img", {"refiner_checkpoint": "none", "refiner_switch_at": 0.5}, 500, "Could not find checkpoint"),
    ("txt2img", {**HR, "hr_checkpoint_name": "none"}, 500, "Could not find checkpoint"),
    ("txt2img", {**HR, "hr_upscaler": "lanczos"}, 500, "could not find upscaler named lanczos"),
    ("txt2img", {**HR, "hr_upscaler": "Latent"}, 200, "Hires upscaler: Latent"),
    ("txt2img", {**HR, "hr_prompt": "sea"}, 200, "Hires prompt: sea"),
    ("txt2img", {**HR, "hr_resize_x": 128, "hr_resize_y": 128}, 200, "Hires resize: 128x128"),
    ("txt2img", {"styles": ["none"]}, 200, "a cat"),
    ("txt2img", {"prompt": "a <lora:none:1>"}, 200, "a <lora:none:1>"),
    ("txt2img", {"override_settings": {"no_such": 1}}, 500, "KeyError"),
    ("txt2img", {"override_settings": {"CLIP_stop_at_last_layers": 2}}, 200, "Clip skip: 2"),
    ("txt2img", {"override_settings": {"sd_model_checkpoint": "none"}}, 200, "a cat"),
    ("txt2img", {"alwayson_scripts": {"none": {"args": []}}}, 422, "Script 'none' not found"),
    ("txt2img", {"restore_faces": True}, 200, "Face restoration: "),
    ("txt2img", {"width": 70}, 200, "Size: 70x64"),
    ("img2img", {}, 404, "Init image not found"),
    ("img2img", {**IMAGE, "mask": "PICTURE"}, 200, "Masked content: fill"),
    ("img2img", {**IMAGE, "mask": "PICTURE", "inpaint_full_res": True}, 200, "Inpaint area: Only masked"),
    ("img2img", {**IMAGE, "mask": "PICTURE", "inpainting_mask_invert": 1}, 200, "Mask mode: Inpaint not masked"),
    ("img2img", {**IMAGE, "denoising_strength": 0.5}, 200, "Denoising strength: 0.5"),
    ("img2img", {"init_images": ["nonsense"]}, 500, "Invalid encoded image"),
    ("extra-single-image", {**EXTRA, "upscaler_1": "lanczos"}, 500, "could not find upscaler named lanczos"),
    ("extra-single-image", {**EXTRA, "upscaler_2": "none"}, 500, "could not find upscaler named none"),
    ("extra-single-image", {**EXTRA, "gfpgan_visibility": 0.5}, 200, "Postprocess GFPGAN visibility: 0.5"),
    ("extra-batch-images", {"imageList": "none"}, 422, "list"),
    ("options", {"no_such": 1}, 500, "KeyError"),
    ("png-info", {"image": "nonsense"}, 500, "Invalid encoded image"),
]


@pytest.mark.parametrize(("path", "wanted", "status", "words"), REQUESTS)
def test_requests_that_no_recording_has_are_answered_as_the_facts_say(server, path, wanted, status, words):
    """Status and words; of a picture its infotext."""
    body = {**(TINY if path in ("txt2img", "img2img") else {}), **wanted}
    body = {key: _with_picture(value) for key, value in body.items()}
    answer = post(server, path, body)

    assert answer.status_code == status
    found = answer.json()
    text = json.loads(found["info"])["infotexts"][0] if status == 200 and "info" in found else answer.text
    assert words in text


def _with_picture(value):
    if isinstance(value, list):
        return [_with_picture(entry) for entry in value]
    return upload() if value == "PICTURE" else value
