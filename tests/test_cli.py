"""The command line as a person meets it: what it says, what it leaves behind, with which exit code it goes."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import reactivex as rx
from PIL import Image, ImageChops
from typer.testing import CliRunner

from rxpipe.backends.base import Backend, Output
from rxpipe.cli import app
from rxpipe.cli.settings import TABLES, settings_of
from rxpipe.errors import BackendFailed
from rxpipe.events import parse_event
from rxpipe.pictures.png import insert_text
from rxpipe.pictures.png import pixel_size as png_pixel_size
from rxpipe.result import PipelineRunResult
from rxpipe.sinks.learning import LearningRecordWriter, read_records

DATA = Path(__file__).parent / "data"
SMALL = ("--width", "64", "--height", "64", "--steps", "2", "--seed", "7")


def png(seed=0, size=(64, 64)):
    buffer = io.BytesIO()
    Image.new("RGB", size, (seed % 256, 80, 160)).save(buffer, "PNG")
    return buffer.getvalue()


class Painted(Backend):
    """One colour a picture, at once; fails where *fails* says, as (stage, image)."""

    name = "painted"
    description = "paints one colour"

    def __init__(self, fails=()):
        self.fails = set(fails)

    def render(self, stage, source):
        del source
        if (stage.stage_type, stage.image_index) in self.fails:
            return rx.throw(BackendFailed("answered 500: CUDA out of memory.", hint="Lower the size."))
        return rx.of(Output(png(stage.seed or 0)))


@pytest.fixture(autouse=True)
def embedded(monkeypatch, tmp_path):
    """No test looks for servers on this machine, or writes into the working directory."""
    monkeypatch.setenv("RXPIPE_BACKEND", "sketch")
    monkeypatch.setenv("RXPIPE_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.chdir(tmp_path)


def rxpipe(*arguments):
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def painted(monkeypatch, *fails):
    backend = Painted(fails)
    monkeypatch.setattr("rxpipe.backends.open_backend", lambda *_, **__: backend)
    return backend


# -- runs -------------------------------------------------------------------------------------------------------------


def test_run_without_arguments_draws_two_pictures_through_all_four_stages(monkeypatch, tmp_path):
    """Both go through every stage; the files of the last stage are the last two lines."""
    painted(monkeypatch)
    ran = rxpipe("run")

    lines = ran.stdout.splitlines()
    assert ran.exit_code == 0
    assert "txt2img > img2img > adetailer > upscale, 2 images" in lines[1]
    assert all(Path(line).is_file() and line.startswith("outputs/extras-images/") for line in lines[-2:])
    assert len(list(tmp_path.glob("outputs/**/*.png"))) == 8


@pytest.mark.slow
def test_the_embedded_backend_finds_the_face_in_what_it_drew(tmp_path):
    """The default prompt asks for a portrait, so that adetailer has something to do; done for real."""
    ran = rxpipe("run", "--images", "1", "--seed", "3", "--out", "o", "--backend", "embedded")

    assert ran.exit_code == 0, ran.output
    assert "adetailer image 1/1 done" in ran.stdout
    with Image.open(tmp_path / ran.stdout.splitlines()[-1]) as picture:
        assert picture.size == (1024, 1024)


def test_the_backend_that_was_taken_is_said_first(monkeypatch):
    """A person knows at once who draws."""
    painted(monkeypatch)
    assert rxpipe("run", "--stages", "txt2img", *SMALL).stdout.startswith("backend: paints one colour\n")


def test_a_config_file_is_run_with_options_on_top(tmp_path):
    """What the file says holds, unless an option says otherwise."""
    Path("job.toml").write_text(
        'out = "o"\n[txt2img]\nprompt = "hills"\nimages = 3\nwidth = 64\nheight = 64\nsteps = 2\n'
    )
    ran = rxpipe("run", "job.toml", "--images", "2", "--set", "txt2img.seed=11", "--json")

    events = [parse_event(line) for line in ran.stdout.splitlines()]
    assert ran.exit_code == 0, ran.output
    assert [event.seed for event in events if event.kind == "stage_image_progress"] == [11, 12]
    assert len(list(tmp_path.glob("o/txt2img-images/*/*.png"))) == 2


@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_yaml_and_json_configs_are_taken_too(ending):
    """The three kinds say the same."""
    text = {"yaml": "txt2img:\n  prompt: hills\n", "json": '{"txt2img": {"prompt": "hills"}}'}[ending]
    Path(f"job.{ending}").write_text(text)
    ran = rxpipe("run", f"job.{ending}", "--dry-run", "--json")

    assert json.loads(ran.stdout)["stages"][0]["config"]["prompt"] == "hills"


def test_a_photo_drops_txt2img_and_takes_the_prompt_to_img2img():
    """--input starts at img2img; the prompt goes to the first stage that draws."""
    Path("photo.png").write_bytes(png())
    ran = rxpipe("run", "--input", "photo.png", "--prompt", "in oil", "--dry-run", "--json")

    plan = json.loads(ran.stdout)
    assert [stage["stage_type"] for stage in plan["stages"]] == ["img2img", "adetailer", "upscale"]
    assert plan["stages"][0]["generation"]["prompt"] == "in oil"
    assert plan["images"] == 1


def test_several_photos_are_all_worked_on(monkeypatch):
    """--input may be repeated; each photo is an image of the run, and no photo is overwritten."""
    painted(monkeypatch)
    for name in ("a.png", "b.png"):
        Path(name).write_bytes(png(9))
    ran = rxpipe("run", "--input", "a.png", "--input", "b.png", "--stages", "upscale")

    assert ran.exit_code == 0
    assert "upscale, 2 images" in ran.stdout
    assert Path("a.png").read_bytes() == png(9)


def test_stages_chooses_and_switches_on():
    """A section that the file switches off runs if it is requested by name."""
    Path("job.toml").write_text("[txt2img]\nsteps = 4\n[upscale]\nscale = 3\nenabled = false\n[adetailer]\n")
    ran = rxpipe("run", "job.toml", "--stages", "txt2img,upscale", "--dry-run", "--json")

    stages = json.loads(ran.stdout)["stages"]
    assert [stage["stage_type"] for stage in stages] == ["txt2img", "upscale"]
    assert stages[1]["config"]["scale"] == 3


def test_a_picture_is_rendered_again_from_its_metadata():
    """Pixel for pixel, through the same stages."""
    first = rxpipe("run", "--images", "1", *SMALL, "--set", "upscale.scale=1.5", "--out", "one")
    second = rxpipe("run", first.stdout.splitlines()[-1], "--out", "two")

    assert second.exit_code == 0, second.output
    one, two = (Image.open(ran.stdout.splitlines()[-1]) for ran in (first, second))
    assert one.size == (96, 96)
    assert ImageChops.difference(one.convert("RGB"), two.convert("RGB")).getbbox() is None


def test_a_picture_of_another_tool_gives_its_settings():
    """A1111's words are understood well enough to draw from."""
    ran = rxpipe("run", DATA / "forge-txt2img.png", "--dry-run", "--json")

    config = json.loads(ran.stdout)["stages"][0]["config"]
    assert (config["prompt"], config["seed"], config["steps"], config["width"]) == ("a cat", 1, 2, 64)


@pytest.mark.parametrize("name", ["job", "job.bmp", "job.toml"])
@pytest.mark.parametrize("kind", ["config", "picture"])
def test_a_file_is_run_by_its_content_whatever_its_name(kind, name):
    """A config or a picture without an ending, or with a wrong one."""
    config = b"txt2img:\n  prompt: a cat\n  seed: 1\n"
    Path(name).write_bytes(config if kind == "config" else (DATA / "forge-txt2img.png").read_bytes())
    ran = rxpipe("run", name, "--dry-run", "--json")

    assert ran.exit_code == 0, ran.output
    stage = json.loads(ran.stdout)["stages"][0]["config"]
    assert (stage["prompt"], stage["seed"]) == ("a cat", 1)


def test_what_a_picture_would_send_is_shown_and_asked_about(tmp_path):
    """Without --trust or --no-trust nothing runs."""
    entry = {"stage": "txt2img", "backend": "b", "settings": {"prompt": "a", "override_settings": {"x": 1}}}
    text = json.dumps({"id": "x", "lineage": [entry]})
    (tmp_path / "a.png").write_bytes(insert_text(png(), {"rxpipe": text}))
    asked = rxpipe("run", "a.png", "--dry-run")
    assert asked.exit_code == 2
    assert "txt2img.override_settings would be sent: {'x': 1}" in asked.stderr
    assert "--trust" in asked.stderr
    sent = '"override_settings": {"x": 1}'
    assert sent in rxpipe("run", "a.png", "--trust", "--dry-run", "--json").stdout
    assert sent not in rxpipe("run", "a.png", "--no-trust", "--dry-run", "--json").stdout


def test_dry_run_prints_the_plan_and_draws_nothing(tmp_path):
    """A table for people; no file, no folder."""
    ran = rxpipe("run", "--dry-run", "--seed", "5", "--order", "image")

    assert ran.exit_code == 0
    for expected in ("1  txt2img", "4  upscale", "scale 2.0", "5, the next has one more", "image: each picture"):
        assert expected in ran.stdout
    assert list(tmp_path.iterdir()) == []


# -- outcomes ---------------------------------------------------------------------------------------------------------


def test_a_run_that_failed_in_part_exits_with_3_and_keeps_the_rest(monkeypatch):
    """The good picture is the last line, the bad one's cause is on stderr."""
    painted(monkeypatch, ("upscale", 2))
    ran = rxpipe("run")

    assert ran.exit_code == 3
    assert "1 of 2 pictures finished, 1 more kept unfinished." in ran.stdout
    assert "out of memory. Lower the size." in ran.stderr


def test_a_run_that_failed_exits_with_1(monkeypatch):
    """Nothing came through, and why is said."""
    painted(monkeypatch, ("txt2img", 1))
    ran = rxpipe("run", "--images", "1")

    assert ran.exit_code == 1
    assert "txt2img (stage 1 of 4), image 1: answered 500" in ran.stderr
    assert ran.stdout.endswith("0 of 1 pictures finished.\n")


def test_a_folder_that_cannot_be_written_fails_with_its_name(monkeypatch):
    """Which part of its path, and what to do; before anything is drawn, and in a dry run too."""
    painted(monkeypatch)
    Path("file").write_text("in the way")
    for words in ([], ["--dry-run"]):
        ran = rxpipe("run", "--out", "file/below", *words)
        assert (ran.exit_code, ran.stdout) == (2, "")
        assert "/file: no picture can be saved there: Not a directory." in ran.stderr
        assert "choose another folder with --out" in ran.stderr


EVIL = "\x1b]0;owned\x07\x1b[2J\u202ecod\u2066.\x9b31m\r"


class Evil(Painted):
    """Says terminal codes wherever a server can say something."""

    description = EVIL

    def check(self, plan):
        del plan
        return (f"check {EVIL}",)

    def render(self, stage, source):
        del source
        if stage.image_index == 1:
            return rx.throw(BackendFailed(f"500: {EVIL}", hint=EVIL))
        return rx.of(Output(png(), warnings=(f"drawn {EVIL}",)))


@pytest.mark.parametrize("flags", [[], ["--json"], ["--verbose"]], ids=str)
def test_what_a_server_says_steers_no_terminal(monkeypatch, flags):
    """On stdout and stderr, in lines of events, with --json, in warnings of the run."""
    monkeypatch.setattr("rxpipe.backends.open_backend", lambda *_, **__: Evil())
    ran = rxpipe("run", *SMALL, "--stages", "txt2img", *flags, "--set", "max_failures_in_a_row=1")
    shown = ran.stdout + ran.stderr
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert r"\x1b]0;owned" in shown or r"\u001b" in shown
    assert "check " in ran.stdout


def test_what_a_config_or_a_picture_says_steers_no_terminal(tmp_path):
    """Keys, values, texts."""
    (tmp_path / "a.json").write_text(json.dumps({EVIL: EVIL, "txt2img": {"steps": EVIL, f"x{EVIL}": 1}}))
    (tmp_path / "a.yaml").write_text('txt2img: {steps: !"\\e[2J" x}')
    (tmp_path / "a.png").write_bytes(insert_text(png(), {"parameters": f"{EVIL}\nSteps: 1, Seed: 2, Model: {EVIL}"}))
    for arguments in (["run", "a.json"], ["run", "a.yaml"], ["info", "a.png"], ["run", "a.png", "--dry-run"]):
        ran = rxpipe(*arguments)
        assert all(char.isprintable() or char == "\n" for char in ran.stdout + ran.stderr)


def test_json_prints_events_and_nothing_else(monkeypatch):
    """Every line is an event, ASCII whatever the prompt is; a run's failure is reported on stderr."""
    painted(monkeypatch, ("upscale", 1), ("upscale", 2))
    ran = rxpipe("run", "--json", "--prompt", "Düne bei Nacht", "--out", "gemälde")

    kinds = [parse_event(line).kind for line in ran.stdout.splitlines()]
    assert kinds[0] == "run_start"
    assert kinds[-1] == "run_end"
    assert ran.stdout.isascii()
    assert "out of memory" in ran.stderr
    assert ran.exit_code == 1


# -- usage ------------------------------------------------------------------------------------------------------------


def test_every_mistake_in_a_config_is_reported_together():
    """Three mistakes, three lines, each with what is allowed; nothing is run."""
    Path("job.toml").write_text('order = "sideways"\n[txt2img]\nstps = 20\nwidth = 500\n')
    ran = rxpipe("run", "job.toml")

    assert ran.exit_code == 2
    assert ran.stdout == ""
    assert ran.stderr.splitlines() == [
        "rxpipe: 3 settings are wrong, so nothing was run:",
        "  job.toml: order: got 'sideways', should be 'stage', 'image' or 'auto'",
        "  job.toml: txt2img.width: got 500, must be a multiple of 8 (px), such as 496 or 504",
        "  job.toml: txt2img.stps: unknown key; did you mean 'steps'?",
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["none.toml"], "none.toml: no such config file or picture"),
        (["a lighthouse"], 'a lighthouse: no such config file or picture. To generate it: rxpipe run --prompt "..."'),
        (["--input", "none.png"], "none.png: no such file."),
        (["--input", "torn.png"], "torn.png: the picture is none of a known format"),
        (["torn.png"], "torn.png: looks like plain text ('not a png'); allowed: a config in TOML, YAML or JSON"),
        (["mute.png"], "mute.png: the picture does not say how it was made. To work on the picture itself, give it"),
        (["--stages", "upscale"], "upscale (stage 1 of 1) has no picture to start from."),
        (["--stages", "upscal"], "--stages: there is no stage 'upscal'; did you mean 'upscale'?"),
        (["--stages", "upscale,txt2img"], "Write --stages txt2img,upscale, or compose another order in code"),
        (["--stages", "txt2img", "--set", "upscale.scale=3"], "--set changes upscale, which --stages txt2img leaves"),
        (["--input", "mute.png", "--stages", "upscale", "--prompt", "x"], "--prompt: none of the stages that run"),
        (["--set", "steps"], "'steps': not of the form stage.key=value"),
        (["--set", "txt2img.stps=3"], "txt2img.stps: unknown key; did you mean 'steps'?"),
        (["--backend", "embeded"], "did you mean 'embedded'?"),
        (["--backend", "http://127.0.0.1:1", "--pace", "1"], "--pace: http://127.0.0.1:1 has its own speed"),
        (["--steps", "many"], "--steps: got 'many', should be a whole number"),
    ],
)
@pytest.mark.sampled(6)
def test_a_usage_error_is_reported_in_words(arguments, expected):
    """Exit code 2, one plain message, no traceback, nothing on stdout, nothing rendered."""
    Path("torn.png").write_text("not a png")
    Path("mute.png").write_bytes(png())
    ran = rxpipe("run", *arguments)

    assert ran.exit_code == 2, ran.output
    assert expected in " ".join(ran.stderr.replace("│", " ").split())
    assert "Traceback" not in ran.output
    assert ran.stdout == ""
    assert not Path("outputs").exists()


# -- the other commands -----------------------------------------------------------------------------------------------


def test_info_reads_every_picture_it_can_and_says_which_it_cannot():
    """One bad file does not hide the others."""
    Path("torn.png").write_text("not a png")
    ran = rxpipe("info", DATA / "a1111-img2img.png", "torn.png", DATA / "forge-txt2img.png")

    assert ran.exit_code == 2
    assert "a1111-img2img.png: PNG, 64x64, metadata a1111" in ran.stdout
    assert "forge-txt2img.png: PNG, 64x64" in ran.stdout
    assert "torn.png" in ran.stderr


def test_info_as_json_is_one_object_a_picture():
    """For scripts: the path and everything that is known."""
    ran = rxpipe("info", "--json", DATA / "a1111-img2img.png", DATA / "forge-txt2img.png")

    entries = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [entry["dialect"] for entry in entries] == ["a1111", "a1111"]
    assert entries[0]["settings"]["Sampler"] == "Euler"
    assert entries[0]["path"].endswith("a1111-img2img.png")


def test_stages_lists_every_setting_and_of_one_stage_its_default_range_and_meaning():
    """What a config can hold, from the models themselves: on one screen, and whole."""
    every, ran = rxpipe("stages"), rxpipe("stages", "txt2img")

    assert (every.exit_code, ran.exit_code) == (0, 0)
    for section in ("txt2img", "txt2img.hires", "img2img", "adetailer", "upscale", "retry"):
        assert re.search(rf"^{re.escape(section)}: ", every.stdout, re.MULTILINE)
    assert "clip_skip" in every.stdout
    assert "rxpipe stages NAME" in every.stdout
    assert len(every.stdout.splitlines()) < 56
    assert re.search(r"^  steps +20 +1 \.\. 1000 +Sampling steps", ran.stdout, re.MULTILINE)
    assert "drop | pass | stop" in ran.stdout


def test_every_setting_has_words_of_its_own_section():
    """They are the description in the model: the same setting means one thing in txt2img.hires, another in upscale."""
    meanings = {(section, row[0]): row[3] for section, (model, _) in TABLES.items() for row in settings_of(model)}

    assert all(meanings.values())
    assert meanings["txt2img.hires", "scale"] != meanings["upscale", "scale"]


def test_stages_of_an_unknown_stage_says_which_there_are():
    """The nearest name is offered."""
    ran = rxpipe("stages", "upscal")

    assert ran.exit_code == 2
    assert "did you mean 'upscale'?" in ran.stderr


def test_stages_as_json_is_a_schema():
    """For editors that check config files while they are written."""
    schema = json.loads(rxpipe("stages", "--json").stdout)
    assert "txt2img" in schema["properties"]
    assert schema["$defs"]["Txt2ImgConfig"]["properties"]["steps"]["maximum"] == 1000


def test_doctor_says_what_a_server_has(webui_server):
    """Ready, with its models and samplers; and a picture rendered on trial."""
    ran = rxpipe("doctor", webui_server.url, "--trial")

    assert ran.exit_code == 0, ran.output
    assert f"{webui_server.url}: ready" in ran.stdout
    for expected in ("loaded model", "samplers", "ADetailer", "rendered in"):
        assert expected in ran.stdout


def test_doctor_of_a_dead_address_says_what_to_do():
    """Exit code 1, since no run could begin there."""
    ran = rxpipe("doctor", "http://127.0.0.1:9")

    assert ran.exit_code == 1
    assert "no server answers" in ran.stdout
    assert "--api" in ran.stdout


@pytest.mark.parametrize("option", ["--flavour", "--draw"])
def test_testserver_refuses_what_it_cannot_be(option):
    """What is allowed is said."""
    ran = rxpipe("testserver", option, "marble")

    assert ran.exit_code == 2
    assert f"{option}: got 'marble'; allowed:" in ran.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--comfyui", "--version", "0.3"), "version must be a release from 0.3.40 on, such as 0.3.40, 0.3.64, 0.33.0"),
        (("--version", "0.3.40"), "--version is ComfyUI's: say --comfyui too"),
    ],
)
def test_testserver_refuses_a_release_that_it_cannot_be(options, words):
    """Before it listens."""
    ran = rxpipe("testserver", *options)

    assert ran.exit_code == 2
    assert words in " ".join(ran.stderr.split())


def test_version_is_one_line():
    """Name and version."""
    assert re.fullmatch(r"rxpipe \d+\.\d+\.\d+\S*\n", rxpipe("--version").stdout)


# -- real processes ---------------------------------------------------------------------------------------------------

DEAF = """
    import time, rxpipe.backends
    import reactivex as rx
    from reactivex.disposable import Disposable
    from rxpipe.backends.base import Backend, StepProgress

    class Deaf(Backend):
        name = description = "ignores_dispose"
        def render(self, stage, source):
            def subscribe(observer, scheduler=None):
                observer.on_next(StepProgress(0.1, 1, 10))
                return Disposable(lambda: time.sleep(60))
            return rx.Observable(subscribe)

    rxpipe.backends.open_backend = lambda *_, **__: Deaf()
"""
LISTENING = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job would not


def start(*arguments, preparation="", **options):
    """The program in a process of its own."""
    code = f"{LISTENING}{textwrap.dedent(preparation)}\nfrom rxpipe.cli import main\nmain()"
    return subprocess.Popen(  # noqa: S603  our own code
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.DEVNULL,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


@pytest.mark.parametrize("module", ["typer", "rxpipe.cli.options"])
def test_ctrl_c_while_the_program_loads_leaves_no_traceback(module):
    """Before any command has a handler of its own."""
    hook = f"""
class Pressed:
    @staticmethod
    def find_spec(name, *_):
        if name == {module!r}:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Pressed)
"""
    with start("run", "--dry-run", preparation=f"\nimport sys\n{hook}") as program:
        out, err = program.communicate(timeout=20)
    assert (program.returncode, out, err) == (130, b"", b"")


def lines_until(stream, wanted):
    """Lines up to the first that holds *wanted*."""
    seen = []
    for raw in stream:
        seen.append(raw)
        if wanted in raw:
            return seen
    pytest.fail(f"{wanted!r} never came; {seen!r}")


@pytest.mark.sampled(1)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_cancels_and_keeps_what_is_finished(number, tmp_path):
    """Ctrl+C and SIGTERM alike: the timeline is closed, files are whole, the exit code is 130."""
    with start("run", "--json", *SMALL, "--images", "50", "--pace", "0.05", "--stages", "txt2img,upscale") as program:
        before = lines_until(program.stdout, b"stage_image_progress")
        program.send_signal(number)
        out, err = program.communicate(timeout=20)

    events = [parse_event(line) for line in [*before, *out.splitlines()]]
    paths = [event.path for event in events if event.kind == "stage_image_progress"]
    assert program.returncode == 130
    assert events[-1].kind == "run_end"
    assert events[-1].status == "cancelled"
    assert sorted(paths) == sorted(tmp_path.glob("outputs/**/*.png"))
    for path in paths:
        Image.open(path).load()
    assert err == b""


@pytest.mark.slow
def test_two_signals_end_it_at_once():
    """Whatever the backend does."""
    with start("run", "--json", preparation=DEAF) as program:
        lines_until(program.stdout, b"stage_step")
        program.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            program.wait(0.5)  # the ignores_dispose backend holds the first
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=5)

    assert program.returncode == 130


@pytest.mark.slow
def test_a_cancelled_run_says_what_is_kept():
    """In words, where it is not JSON."""
    with start("run", *SMALL, "--images", "9", "--pace", "0.05", "--stages", "txt2img,upscale") as program:
        lines_until(program.stdout, b"txt2img image 1/9 done")
        program.send_signal(signal.SIGINT)
        out, _ = program.communicate(timeout=20)

    assert re.search(rb"0 of 9 pictures finished, \d more kept unfinished\.\noutputs/txt2img-images/", out)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("arguments", [["run", "--pace", "0.05", *SMALL, "--images", "50"], ["run", "--json", *SMALL]])
@pytest.mark.slow
def test_a_closed_pipe_ends_it_quietly(arguments):
    """As `| head -1` does it: no traceback, no further pictures for nobody."""
    with start(*arguments) as program:
        program.stdout.readline()
        program.stdout.close()
        err = program.stderr.read()
        program.wait(20)

    assert err == b""
    assert program.returncode == 130


_SCHEMAS = """
import rxpipe as rxp
for name in reversed(rxp.__all__):
    model = getattr(rxp, name)
    if isinstance(model, type) and hasattr(model, "model_json_schema"):
        print(name, len(model.model_json_schema()))
"""


def test_every_model_has_a_json_schema_before_it_is_used():
    """Models are built on first use; pydantic before 2.14 wrote no default of one that was not built."""
    ran = subprocess.run([sys.executable, "-c", _SCHEMAS], capture_output=True, text=True, check=False)  # noqa: S603  ours
    assert ran.stderr == ""
    assert {"PipelineConfig", "StageExecution", "StageExecutionPlan", "RunEnd"} <= set(ran.stdout.split())


@pytest.mark.sampled(1)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize(
    "arguments",
    [["stages"], ["stages", "--json"], ["--version"], ["run", *SMALL], ["run", "--json", *SMALL], ["run", "--dry-run"]],
    ids=" ".join,
)
def test_a_full_disk_behind_stdout_is_no_success(arguments):
    """The exit code says so, and one line."""
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(  # noqa: S603  our own program
            [sys.executable, "-m", "rxpipe", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ran.returncode == 1
    assert ran.stderr == f"rxpipe: the output cannot be written: {os.strerror(28)}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")
@pytest.mark.parametrize("closed", [">&- 2>&- <&-", pytest.param(">&-", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_closed_streams_take_no_file_for_a_stream(closed, tmp_path):
    """As a supervisor may start it: the run succeeds, and nothing of its output is in a picture."""
    command = f'exec "$0" -m rxpipe run "$@" {closed}'
    options = [*SMALL, "--images", "1", "--stages", "txt2img", "--backend", "embedded", "--out", str(tmp_path)]
    arguments = ["sh", "-c", command, sys.executable, *options]
    ran = subprocess.run(arguments, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603  our own program
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [png_pixel_size(path.read_bytes())[1:] for path in tmp_path.rglob("*.png")] == [(64, 64)]


@pytest.mark.slow
def test_a_folder_whose_name_is_no_utf_8(tmp_path):
    """Files, events, timeline and record; as the working directory, as --out, as an input."""
    folder = tmp_path / "f\udcff"
    folder.mkdir()
    for arguments, where in (([], folder), (["--out", folder / "x"], tmp_path)):
        command = [sys.executable, "-m", "rxpipe", "run", "--json", *SMALL, "--stages", "txt2img", "--images", "1"]
        ran = subprocess.run(  # noqa: S603  our own program
            [*command, *map(str, arguments)],
            cwd=where,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        events = [parse_event(line) for line in ran.stdout.splitlines()]
        path = next(event.path for event in events if getattr(event, "path", None))
        assert path.is_file()
        result = PipelineRunResult.from_events(events)
        result.write_timeline(tmp_path / "timeline")
        assert PipelineRunResult.read_timeline(tmp_path / "timeline").images[0].path == path
        LearningRecordWriter(tmp_path / "records").on_result(result)
        assert list(read_records(tmp_path / "records"))[-1].outputs == (path,)
        assert rxpipe("run", "--dry-run", "--input", path).exit_code == 0
        assert rxpipe("run", path, "--dry-run").exit_code == 0


@pytest.mark.sampled(1)
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.slow
def test_a_console_without_unicode_is_served(encoding):
    """Names that it cannot hold are escaped; nothing raises."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    arguments = ("run", *SMALL, "--images", "1", "--out", "高い", "--stages", "txt2img")
    with start(*arguments, env=environment) as program:
        out, err = program.communicate(timeout=60)

    assert program.returncode == 0, err
    assert out.isascii()
    assert out.splitlines()[-1].startswith(rb"\u9ad8\u3044/txt2img-images/")


@pytest.mark.slow
def test_a_terminal_sees_bars_move_and_paths_last():
    """On a real pseudo-terminal: image i of N, step n of N, 100 % at the end, the cursor given back."""
    control, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30", "PYTHONIOENCODING": "utf-8"}
    command = ("run", *SMALL, "--images", "2", "--pace", "0.15", "--stages", "txt2img,upscale")
    with start(*command, stdout=terminal, env=environment) as program:
        os.close(terminal)
        seen = b"".join(iter(lambda: read_terminal(control), b"")).decode()
        os.close(control)
    frames = seen.split("\x1b[2K")

    assert program.returncode == 0
    assert any("image 1 of 2 · step 1 of 2" in frame for frame in frames)
    assert any("waiting" in frame for frame in frames)
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") == 1
    assert "Completed in" in frames[-1]
    paths = seen.rpartition("\x1b[?25h")[2].split()
    assert len(paths) == 2
    assert all(Path(path).is_file() for path in paths), paths


def read_terminal(control):
    """What a terminal has to show; nothing once the program is gone, which Linux tells by EIO."""
    try:
        return os.read(control, 65536)
    except OSError:
        return b""


@pytest.mark.parametrize("options", [(), ("--comfyui", "--version", "0.3.64")])
@pytest.mark.slow
def test_testserver_prints_its_url_and_stops_at_ctrl_c(options):
    """Serve, say where, and go."""
    with start("testserver", "--draw", "noise", *options) as program:
        assert re.match(rb"listening on http://127\.0\.0\.1:\d+\n", program.stdout.readline())
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=20)

    assert (program.returncode, err) == (0, b"")
    assert out.startswith(b"stopped after 0 calls")


def test_help_loads_nothing_heavy():
    """The first word from a program should come at once."""
    heavy = "('pydantic', 'reactivex', 'numpy', 'requests', 'PIL')"
    code = f"import sys, rxpipe.cli; print([m for m in {heavy} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  our own code
    assert ran.stdout == "[]\n"


def test_a_dry_run_loads_neither_what_runs_nor_a_reader_for_each_option():
    """A plan is all that it prints: no Rx, no log, no picture, and none of the parser's types, of some ms each."""
    heavy = "('typer._adapters', 'reactivex', 'loguru', 'numpy', 'requests', 'PIL', 'sqlite3', 'rxpipe.chains')"
    code = (
        "import sys, contextlib\nfrom rxpipe.cli.app import main\nsys.argv = ['rxpipe', 'run', '--dry-run']\n"
        f"with contextlib.suppress(SystemExit): main()\nprint('loaded', [m for m in {heavy} if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  our own code
    assert ran.stdout.splitlines()[-1] == "loaded []"
    assert "img2img" in ran.stdout
