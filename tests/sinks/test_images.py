"""The writer: where files go, what they hold, and that nothing torn or overwritten is ever seen."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import multiprocessing
import os
import random
import re
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rxpipe.artifact import Artifact
from rxpipe.config import (
    AdetailerConfig,
    AdetailerUnit,
    CustomConfig,
    HiresConfig,
    Img2ImgConfig,
    RefinerConfig,
    RunSettings,
    Txt2ImgConfig,
    UpscaleConfig,
)
from rxpipe.errors import BadImage, ConfigError, SaveError
from rxpipe.pictures import png
from rxpipe.pictures.lineage import LineageEntry
from rxpipe.pictures.metadata import read_info
from rxpipe.plan import plan_stages
from rxpipe.sinks.images import ImageWriter
from rxpipe.sinks.names import NamePattern, clean_part, pattern_of
from rxpipe.testing import FaultyFiles

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DATA = Path(__file__).parent.parent / "data"


def encoded(kind: str = "PNG", size: tuple[int, int] = (64, 32), **options: object) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(out, kind, **options)
    return out.getvalue()


def execution(*sections, **settings):
    """The last of a row of stages, as the plan decides it."""
    given = sections or (Txt2ImgConfig(prompt="a cat", steps=20, sampler_name="Euler", model="tiny"),)
    return plan_stages(given, RunSettings(input=(Path("photo.png"),), **settings)).stages[-1]


def artifact(seed: int | None = 7, data: bytes | None = None) -> Artifact:
    entry = LineageEntry("txt2img", "sketch", {"seed": seed, "prompt": "a cat"})
    return Artifact(id="r-1", number=1, seed=seed, data=encoded() if data is None else data, lineage=(entry,))


def written(out: Path, *args, disk: FaultyFiles | None = None, **kwargs) -> Path:
    return ImageWriter(out, files=disk).write(artifact(*args, **kwargs), execution(), NOW).path


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def disk():
    return FaultyFiles()


# -- where --


CUSTOM = CustomConfig(name="watermark", kind="function")


@pytest.mark.parametrize(
    ("section", "folder"),
    [
        (Txt2ImgConfig(prompt="x"), "txt2img-images"),
        (Img2ImgConfig(), "img2img-images"),
        (AdetailerConfig(), "img2img-images"),
        (CUSTOM, "img2img-images"),
        (UpscaleConfig(), "extras-images"),
    ],
)
def test_pictures_go_where_a1111_puts_them(tmp_path, section, folder):
    """A folder per kind of stage, one per day in it, number and seed as the name."""
    done = ImageWriter(tmp_path).write(artifact(), execution(section), NOW)
    assert done.path == tmp_path / folder / "2026-11-23" / "00000-7.png"
    assert done.data is None
    assert files(tmp_path) == [f"{folder}/2026-11-23/00000-7.png"]


def test_the_day_is_the_callers(tmp_path):
    """The date of `now` in its own zone names the folder."""
    late = datetime(2026, 11, 23, 20, 0, tzinfo=UTC).astimezone(timezone(timedelta(hours=9)))
    done = ImageWriter(tmp_path).write(artifact(), execution(), late)
    assert done.path.parent.name == "2026-11-24"


def test_the_number_goes_on_from_the_greatest_in_the_folder(tmp_path):
    """Files of A1111 and others beside ours count; what has no number does not."""
    folder = tmp_path / "txt2img-images" / "2026-11-23"
    folder.mkdir(parents=True)
    for name in ("00041-9.png", "00007.jpg", "grid-0099.png", "123-4.png", "note.txt"):
        (folder / name).write_bytes(b"")
    writer = ImageWriter(tmp_path)
    names = [writer.write(artifact(seed), execution(), NOW).path.name for seed in (5, 5, None)]
    assert names == ["00042-5.png", "00043-5.png", "00044.png"]


def test_numbers_beyond_five_digits_go_on(tmp_path):
    """The hundred thousandth picture is not the first again."""
    folder = tmp_path / "txt2img-images" / "2026-11-23"
    folder.mkdir(parents=True)
    (folder / "99999-1.png").write_bytes(b"")
    assert written(tmp_path).name == "100000-7.png"


def test_the_folder_is_looked_through_once(tmp_path, disk):
    """Thousands of files cost one look, not one a picture."""
    writer = ImageWriter(tmp_path, files=disk)
    for _ in range(5):
        writer.write(artifact(), execution(), NOW)
    assert disk.calls.count("names") == 1


def test_a_relative_folder_stays_where_it_was_meant(tmp_path, monkeypatch):
    """A later change of the working directory (file dialogs do that) moves nothing."""
    monkeypatch.chdir(tmp_path)
    writer = ImageWriter()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert writer.write(artifact(), execution(), NOW).path == tmp_path / "outputs/txt2img-images/2026-11-23/00000-7.png"


def test_a_folder_deleted_in_between_is_made_again(tmp_path):
    """Somebody clears the outputs while a run goes on."""
    writer = ImageWriter(tmp_path)
    first = writer.write(artifact(), execution(), NOW).path
    first.unlink()
    first.parent.rmdir()
    assert writer.write(artifact(), execution(), NOW).path.name == "00001-7.png"


# -- names --


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ('a<b>:"c"/d\\e|f?*#g\n\t', "a_b___c__d_e_f___g__"),
        ("  lead and trail. . ", "lead and trail"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("..", ""),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("com¹", "_com¹"),
        ("console", "console"),
        ("x" * 200, "x" * 128),
        ("猫" * 200, "猫" * 42),
        ("x" * 127 + " y", "x" * 127),
        ("a\ud800", "a_"),
    ],
)
def test_a_part_of_a_name_is_clean(text, clean):
    """No sign, name or length that some file system refuses."""
    assert clean_part(text) == clean


@given(st.text())
def test_no_text_makes_a_bad_name(text):
    """Whatever a prompt holds: one part, short enough, no trailing dot, and clean already when cleaned again."""
    part = clean_part(text)
    assert not re.search(r'[<>:"/\\|?*\x00-\x1f]', part)
    assert len(part.encode()) <= 129
    assert part == part.rstrip(" .")
    assert part not in {".", ".."}


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("[seed]-[prompt_words]", "00000-7-a cat sitting on.png"),
        ("[prompt]", "00000-a_cat,_sitting_on__.png"),
        ("[prompt_spaces]", "00000-a cat, sitting on__.png"),
        ("[stage]_[steps]_[cfg]_[width]x[height]_[sampler]", "00000-txt2img_20_7.0_512x512_Euler.png"),
        ("[datetime<%H.%M>]/../[date]", "00000-12.00_.._2026-11-23.png"),
        ("[model_name]", "00000.png"),
        ("", "00000.png"),
    ],
)
def test_a_pattern_names_the_file(tmp_path, pattern, name):
    """A1111's tokens; what is not known is empty; no pattern leaves the folder."""
    stage = execution(Txt2ImgConfig(prompt="a cat, sitting on?/", steps=20, sampler_name="Euler"))
    writer = ImageWriter(tmp_path, pattern=pattern)
    assert files(tmp_path) == []
    assert writer.write(artifact(), stage, NOW).path == tmp_path / "txt2img-images" / "2026-11-23" / name


def test_an_unknown_token_is_told_before_anything_is_drawn():
    """With the nearest, or the ones that exist; a time zone too."""
    with pytest.raises(ConfigError, match=r"unknown token \[zzz\]; allowed: seed, seed_first"):
        NamePattern("[zzz]")
    with pytest.raises(ConfigError, match="no time zone 'Europe/Brelin'"):
        NamePattern("[datetime<%H><Europe/Brelin>]")
    with pytest.raises(ConfigError, match=r"unknown token \[sede\]; did you mean 'seed'"):
        NamePattern("[sede]")


STAGE = Txt2ImgConfig(
    prompt="A red barn", negative_prompt="fog", steps=20, sampler_name="DPM++ 2M", scheduler="Karras", clip_skip=2,
    model="photo/real.v2.safetensors [abcdef1234]", vae="kl-f8.vae.pt", styles=("film", "warm"), batch_size=4, images=6,
)  # fmt: skip


@pytest.mark.parametrize(
    ("token", "text"),
    [
        ("[model_name]", "real.v2"),
        ("[model_hash]", "abcdef1234"),
        ("[vae_filename]", "kl-f8.vae"),
        ("[styles]", "film, warm"),
        ("[sampler_scheduler]", "DPM++ 2M Karras"),
        ("[clip_skip]", "2"),
        ("[prompt_no_styles]", "A red barn"),
        ("[prompt_hash]", hashlib.sha256(b"A red barn").hexdigest()[:8]),
        ("[prompt_hash<12>]", hashlib.sha256(b"A red barn").hexdigest()[:12]),
        ("[negative_prompt_hash<4>]", hashlib.sha256(b"fog").hexdigest()[:4]),
        ("[full_prompt_hash]", hashlib.sha256(b"A red barn fog").hexdigest()[:8]),
        ("[image_hash<6>]", hashlib.sha256(encoded()).hexdigest()[:6]),
        ("[hasprompt<barn|house><cat|dog>]", "barndog"),
        ("[datetime<%Y-%m-%d %H.%M><Asia/Tokyo>]", "2026-11-23 21.00"),
        ("[datetime]", "20261123120000"),
        ("[job_timestamp]", "20261123120000"),
        ("a[none]b", "ab"),
        ("[seed]-[batch_number]", "9-2"),
        ("[seed_first]-[seed_last]", "8-9"),
        ("[generation_number]", "6"),
    ],
)
def test_the_tokens_of_a1111_are_known(token, text):
    """The sixth of six images in batches of four: the second of a batch of two."""
    plan = plan_stages((STAGE,), RunSettings(name=token))
    image = Artifact(id="r-6", number=6, seed=9, data=encoded())
    assert NamePattern(pattern_of(plan)).fill(image, plan.stages[0], NOW) == text


@pytest.mark.parametrize(
    ("images", "batch", "pattern"),
    [(1, 1, "[seed]"), (3, 1, "[seed] no [generation_number]"), (1, 2, "[seed]-[batch_number<2><1>]")],
)
def test_numbers_in_a_batch_or_a_run_of_one_go_with_the_text_before_them(images, batch, pattern):
    """As A1111 leaves them out."""
    stage = Txt2ImgConfig(prompt="a", images=images, batch_size=batch)
    plan = plan_stages((stage,), RunSettings(name="[seed]-[batch_number] no [generation_number]"))
    assert pattern_of(plan) == pattern


def test_the_time_of_a_run_is_that_of_its_first_picture():
    """However long the others take."""
    pattern, stage = NamePattern("[job_timestamp]-[datetime<%H>]"), execution()
    names = [pattern.fill(artifact(), stage, NOW.replace(hour=hour)) for hour in (12, 15)]
    assert names == ["20261123120000-12", "20261123120000-15"]


# -- what --


def test_the_servers_text_is_kept_byte_for_byte(tmp_path):
    """A picture of a real server keeps its `parameters` and its pixels; the lineage stands beside it."""
    source = (DATA / "a1111-img2img.png").read_bytes()
    path = written(tmp_path, data=source)
    texts = png.read_text(path.read_bytes())
    assert texts["parameters"] == png.read_text(source)["parameters"]
    assert png.insert_text(path.read_bytes(), {}) == path.read_bytes()
    with Image.open(path) as after, Image.open(io.BytesIO(source)) as before:
        assert after.tobytes() == before.tobytes()
    png.check(path.read_bytes())


def test_the_lineage_tells_where_the_picture_came_from(tmp_path):
    """Who it is, what it went through, and what was noted on the way."""
    noted = artifact().with_metadata(score=0.5, where=Path("a"))
    path = ImageWriter(tmp_path).write(noted, execution(), NOW).path
    with Image.open(path) as image:
        told = json.loads(image.text["rxpipe"])
    assert told.pop("rxpipe")
    assert told == {
        "format": 1,
        "stage": "txt2img",
        "id": "r-1",
        "number": 1,
        "seed": 7,
        "parent": None,
        "lineage": [{"stage": "txt2img", "backend": "sketch", "settings": {"seed": 7, "prompt": "a cat"}}],
        "metadata": {"score": 0.5, "where": "a"},
    }


@pytest.mark.parametrize(
    ("sections", "text"),
    [
        (
            [Txt2ImgConfig(prompt="a cat", negative_prompt="dog", sampler_name="Euler", model="tiny", clip_skip=2)],
            ("a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler, CFG scale: 7.0, Seed: 7, Size: 64x32, Model: tiny"
            ", Clip skip: 2, "),
        ),
        (
            [Txt2ImgConfig(prompt="a cat", subseed=3, subseed_strength=0.1, hires=HiresConfig(scale=1.5), width=128)],
            ("a cat\nSteps: 20, CFG scale: 7.0, Seed: 7, Size: 128x512, Variation seed: 3, Variation seed strength: 0.1"
            ", Denoising strength: 0.7, Hires upscale: 1.5, Hires upscaler: Latent, "),
        ),
        ([Img2ImgConfig(prompt="a")], "a\nSeed: 7, Size: 64x32, Denoising strength: 0.3, "),
        ([UpscaleConfig(upscaler="Lanczos")], ("a cat\nSeed: 7, Size: 32x16, Postprocess upscale by: 2.0, "
         "Postprocess upscaler: Lanczos, ")),
        (
            [Img2ImgConfig(prompt="a", steps=9), AdetailerConfig(units=(AdetailerUnit(detector="hand"),))],
            ("a\nSteps: 9, Seed: 7, Size: 64x32, ADetailer model: face_yolov8n.pt, ADetailer confidence: 0.3, "
            "ADetailer denoising strength: 0.4, ADetailer model 2nd: hand, ADetailer confidence 2nd: 0.3, "
            "ADetailer denoising strength 2nd: 0.4, "),
        ),
        (
            [Txt2ImgConfig(prompt="a, b\nc", negative_prompt="d: e", sampler_name="DPM++ 2M", scheduler="Karras",
                           cfg_scale=6.5, clip_skip=1, vae="v", model="m", tiling=True, distilled_cfg_scale=3.5)],
            ("a, b\nc\nNegative prompt: d: e\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG sc"
             "ale: 6.5, Distilled CFG Scale: 3.5, Seed: 7, Size: 64x32, Model: m, VAE: v, Tiling: True"
             ", "),
        ),
        (
            [Txt2ImgConfig(prompt="a", hires=HiresConfig(steps=7, upscaler="R-ESRGAN 4x+"), width=1024, subseed=9,
                           refiner=RefinerConfig(checkpoint="r, x", switch_at=0.7))],
            ('a\nSteps: 20, CFG scale: 7.0, Seed: 7, Size: 1024x512, Denoising strength: 0.7, Hires ups'
             'cale: 2.0, Hires steps: 7, Hires upscaler: R-ESRGAN 4x+, Refiner: "r, x", Refiner switch'
             ' at: 0.7, '),
        ),
        (
            [Txt2ImgConfig(prompt="a", hires=HiresConfig(enabled=False),
                           refiner=RefinerConfig(checkpoint="r", enabled=False))],
            ("a\nSteps: 20, CFG scale: 7.0, Seed: 7, Size: 64x32, "),
        ),
        (
            [Txt2ImgConfig(prompt="a"), UpscaleConfig(scale=3, mode="img2img", denoising_strength=0.2)],
            ("a\nSteps: 20, CFG scale: 7.0, Seed: 7, Size: 21x11, Denoising strength: 0.2, Postprocess "
             "upscale by: 3.0, "),
        ),
        (
            [Txt2ImgConfig(prompt="a"), Img2ImgConfig(steps=12, denoising_strength=1, sampler_name="Heun"),
             AdetailerConfig(prompt="face", units=(AdetailerUnit(detector="h,1"), AdetailerUnit(confidence=0),
                                                   AdetailerUnit(denoising_strength=1)))],
            ('face\nSteps: 12, Sampler: Heun, CFG scale: 7.0, Seed: 7, Size: 64x32, ADetailer model: fa'
             'ce_yolov8n.pt, ADetailer confidence: 0.3, ADetailer denoising strength: 0.4, ADetailer m'
             'odel 2nd: "h,1", ADetailer confidence 2nd: 0.3, ADetailer denoising strength 2nd: 0.4, A'
             'Detailer model 3rd: face_yolov8n.pt, ADetailer confidence 3rd: 0.0, ADetailer denoising '
             'strength 3rd: 0.4, ADetailer model 4th: face_yolov8n.pt, ADetailer confidence 4th: 0.3, '
             'ADetailer denoising strength 4th: 1.0, '),
        ),
        (
            [CUSTOM],
            ("Seed: 7, Size: 64x32, "),
        ),
    ],
)  # fmt: skip
def test_a_picture_without_text_gets_a1111s(tmp_path, sections, text):
    """From what the plan knows, in A1111's order; what nobody said is absent."""
    path = ImageWriter(tmp_path).write(artifact(), execution(*sections), NOW).path
    said = png.read_text(path.read_bytes())["parameters"]
    assert said.startswith(text)
    assert re.fullmatch(r"Version: rxpipe \S+", said.removeprefix(text))


def test_what_was_really_used_goes_before_what_was_asked_for(tmp_path):
    """A backend that took another sampler says so in the lineage, and the text says what it took."""
    used = LineageEntry("txt2img", "sketch", {"sampler_name": "DPM++ 2M", "model": None})
    drawn = Artifact(id="r-1", seed=7, data=encoded(), lineage=(used,))
    said = png.read_text(ImageWriter(tmp_path).write(drawn, execution(), NOW).path.read_bytes())["parameters"]
    assert "Sampler: DPM++ 2M, " in said
    assert "Model: tiny, " in said


def test_too_little_to_say_writes_no_text(tmp_path):
    """Fewer than three pairs would be read as a prompt."""
    path = ImageWriter(tmp_path).write(artifact(seed=None), execution(CUSTOM), NOW).path
    assert png.read_text(path.read_bytes()).keys() == {"rxpipe"}


@pytest.mark.parametrize(("kind", "ending"), [("GIF", ".gif"), ("BMP", ".bmp")])
def test_other_formats_are_written_as_they_came(tmp_path, kind, ending):
    """Byte for byte, under their own ending."""
    data = encoded(kind)
    path = written(tmp_path, data=data)
    assert path.name == f"00000-7{ending}"
    assert path.read_bytes() == data


@pytest.mark.parametrize(("kind", "ending"), [("JPEG", ".jpg"), ("WEBP", ".webp")])
def test_jpeg_and_webp_keep_their_pixels_and_get_their_texts(tmp_path, kind, ending):
    """Nothing is encoded anew, and the texts are in the EXIF."""
    data = encoded(kind)
    path = written(tmp_path, data=data)
    assert path.name == f"00000-7{ending}"
    scan = data[data.index(b"\xff\xda") :] if kind == "JPEG" else data[20:]
    assert scan in path.read_bytes()
    info = read_info(path)
    assert (info.damage, info.lineage.seed) == ("", 7)
    assert "Seed: 7" in info.texts["UserComment"]


@pytest.mark.parametrize("data", [b"", b"<html>", encoded()[:-1]])
def test_what_is_no_picture_is_not_written(tmp_path, data):
    """Nor is a folder made for it."""
    with pytest.raises(BadImage):
        written(tmp_path, data=data)
    assert list(tmp_path.iterdir()) == []


# -- failures --


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "link"])
def test_a_failing_disk_leaves_nothing(tmp_path, disk, code, call):
    """Neither a final nor a temporary name; the error tells folder, cause and what to do."""
    disk.fail(call, code)
    with pytest.raises(SaveError) as caught:
        written(tmp_path, disk=disk)
    assert files(tmp_path) == []
    assert str(tmp_path / "txt2img-images" / "2026-11-23") in caught.value.message
    assert os.strerror(code) in caught.value.message
    assert ".tmp" not in str(caught.value)
    assert "out=" in caught.value.hint


def test_a_disk_that_fills_up_in_the_middle_of_a_picture_leaves_nothing(tmp_path, disk):
    """With room again the next picture takes the number that this one did not get."""
    disk.fill(room=100)
    writer = ImageWriter(tmp_path, files=disk)
    with pytest.raises(SaveError, match=os.strerror(errno.ENOSPC)):
        writer.write(artifact(), execution(), NOW)
    assert files(tmp_path) == []
    disk.heal()
    path = writer.write(artifact(), execution(), NOW).path
    assert path.name == "00000-7.png"
    png.check(path.read_bytes())


@pytest.mark.parametrize("call", ["write", "fsync", "link", "replace"])
def test_an_interrupt_while_a_picture_is_written_leaves_nothing(tmp_path, disk, call):
    """Ctrl+C on the thread that writes, at any of its calls."""
    if call == "replace":
        disk.fail("link", errno.EPERM)
    disk.fail(call, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path, disk=disk)
    assert files(tmp_path) == []


FULL_DISK = """
import resource, signal, sys
from tests_images import NOW, artifact, execution
from rxpipe.errors import SaveError
from rxpipe.sinks.images import ImageWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
try:
    ImageWriter(sys.argv[1]).write(artifact(), execution(), NOW)
except SaveError as error:
    print(error)
"""


def in_a_process(code: str, *args: str) -> subprocess.Popen:
    """A fresh interpreter that can import this file as `tests_images`."""
    load = (
        "import importlib.util as u, sys;"
        f"spec = u.spec_from_file_location('tests_images', {__file__!r});"
        "sys.modules['tests_images'] = module = u.module_from_spec(spec); spec.loader.exec_module(module)\n"
    )
    command = [sys.executable, "-c", load + code, *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603  # our own code and paths


if os.name == "posix":  # only there a process can be told that its disk is full

    def test_a_file_that_the_system_cuts_short_is_no_file(tmp_path):
        """The kernel refuses to write on in the middle of a picture: SaveError, and nothing under any name."""
        with in_a_process(FULL_DISK, str(tmp_path)) as process:
            told = process.communicate()[0]
        assert os.strerror(errno.EFBIG) in told
        assert files(tmp_path) == []


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    """With its path, and what to do."""
    (tmp_path / "outputs").write_bytes(b"")
    with pytest.raises(SaveError, match=r"outputs.*: the picture could not be saved: .*choose another folder"):
        written(tmp_path / "outputs")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_folder_that_takes_no_files_is_told(tmp_path, disk, code):
    """Read-only or not ours."""
    disk.fail("open", code)
    with pytest.raises(SaveError, match=os.strerror(code)):
        written(tmp_path, disk=disk)


def test_a_path_too_long_is_told(tmp_path):
    """The message says so."""
    with pytest.raises(SaveError, match=os.strerror(errno.ENAMETOOLONG)):
        written(tmp_path / ("x" * 300))


def test_a_disk_that_cannot_sync_still_takes_pictures(tmp_path, disk):
    """Some network folders know no fsync."""
    disk.fail("fsync", errno.EINVAL)
    assert written(tmp_path, disk=disk).is_file()


def taking_turns(tmp_path, disk) -> list[str]:
    """Two writers that do not know of each other; the names that the first one's later pictures got."""
    writer, other = (ImageWriter(tmp_path, files=disk) for _ in range(2))
    taken = [writer.write(artifact(), execution(), NOW).path]
    taken += [other.write(artifact(), execution(), NOW).path for _ in range(2)]  # 1 and 2, which the first goes for
    before = [path.read_bytes() for path in taken]
    names = [writer.write(artifact(seed), execution(), NOW).path.name for seed in (8, 7)]
    assert [path.read_bytes() for path in taken] == before
    assert len(files(tmp_path)) == 5
    return names


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EINVAL])
def test_without_links_a_name_is_reserved_first(tmp_path, disk, code):
    """FAT, network disks and mounts of containers: an existing file is not replaced there either."""
    disk.fail("link", code)
    assert taking_turns(tmp_path, disk) == ["00001-8.png", "00003-7.png"]


def test_on_windows_a_rename_refuses_a_name_in_use(tmp_path):
    """No link is made there."""
    disk = FaultyFiles(windows=True)
    disk.fail("link", errno.EIO)
    assert taking_turns(tmp_path, disk) == ["00001-8.png", "00003-7.png"]


def test_without_links_a_failed_rename_gives_the_name_back(tmp_path, disk):
    """The empty file that reserved it goes."""
    disk.fail("link", errno.EPERM)
    disk.fail("replace", errno.EIO)
    with pytest.raises(SaveError):
        written(tmp_path, disk=disk)
    assert files(tmp_path) == []


def test_without_links_a_kill_leaves_no_file_under_a_final_name(tmp_path, disk):
    """Whenever it comes; and the next runs go on beside what it left, and clean it up after an hour."""
    disk.fail("link", errno.EPERM)
    disk.fail("replace", KeyboardInterrupt(), times=1)
    disk.fail("unlink", errno.EPERM, times=2)  # a killed program cleans nothing
    with pytest.raises((KeyboardInterrupt, OSError, SaveError)):
        written(tmp_path, disk=disk)
    folder = next(path.parent for path in tmp_path.rglob("*.tmp"))
    left = sorted(folder.iterdir())
    assert len(left) == 2
    assert all(re.fullmatch(r"\.[0-9a-f]{32}\.tmp", path.name) for path in left)
    again = written(tmp_path, disk=disk)
    assert again.stat().st_size
    assert set(left) < set(folder.iterdir())
    for path in left:
        os.utime(path, (time.time() - 3700,) * 2)
    last = written(tmp_path, disk=disk)
    assert sorted(folder.iterdir()) == sorted([again, last])


def test_only_our_own_old_files_are_cleaned(tmp_path):
    """Neither a younger one, nor another program's, nor a folder."""
    folder = written(tmp_path).parent
    name = "." + "0a" * 16 + ".tmp"
    old = [folder / name, folder / "a.tmp", folder / ".x.tmp", folder / f"1{name}"]
    young = folder / ("." + "0b" * 16 + ".tmp")
    directory = folder / ("." + "0c" * 16 + ".tmp")
    directory.mkdir()
    for path in (*old, young):
        path.touch()
    for path in (*old, directory):
        os.utime(path, (1, 1))
    written(tmp_path)
    assert [path.exists() for path in (*old, young, directory)] == [False, True, True, True, True, True]


@pytest.mark.parametrize("call", ["rename", "unlink"])
def test_a_file_that_a_viewer_holds_is_tried_again(tmp_path, call):
    """After short pauses, each longer than the one before."""
    pauses, disk = [], FaultyFiles(windows=True)
    disk.hold(call, times=3)
    done = ImageWriter(tmp_path, pause=pauses.append, files=disk).write(artifact(), execution(), NOW)
    assert done.path.is_file()
    assert pauses == [0.05, 0.1, 0.2]


def test_a_file_that_is_held_for_good_is_told(tmp_path):
    """After five attempts; nothing is left behind."""
    disk = FaultyFiles(windows=True)
    disk.hold("rename")
    with pytest.raises(SaveError, match="in use"):
        ImageWriter(tmp_path, pause=lambda _: None, files=disk).write(artifact(), execution(), NOW)
    assert disk.calls.count("rename") == 5
    assert files(tmp_path) == []


# -- at once --


def write_many(out: str, barrier, count: int) -> None:
    writer = ImageWriter(out)
    barrier.wait(60)
    for _ in range(count):
        writer.write(artifact(), execution(), NOW)


@pytest.mark.slow
def test_two_processes_never_collide(tmp_path):
    """Fifty pictures each, the same seed, one folder: a hundred whole files."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    workers = [context.Process(target=write_many, args=(str(tmp_path), barrier, 50)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(100)
    assert [worker.exitcode for worker in workers] == [0, 0]
    names = files(tmp_path / "txt2img-images" / "2026-11-23")
    assert names == [f"{number:05}-7.png" for number in range(100)]
    for path in tmp_path.rglob("*.png"):
        png.check(path.read_bytes())


def test_threads_share_one_writer(tmp_path):
    """No number twice, though every seed is another."""
    writer = ImageWriter(tmp_path)

    def work(seed: int) -> None:
        for i in range(20):
            writer.write(artifact(seed * 100 + i), execution(), NOW)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [name.split("-")[0] for name in files(tmp_path / "txt2img-images" / "2026-11-23")]
    assert numbers == [f"{number:05}" for number in range(80)]


ENDLESS = """
from tests_images import NOW, artifact, encoded, execution
from rxpipe.sinks.images import ImageWriter
import os, sys
picture = artifact(data=encoded(size=(1500, 1500), compress_level=0))
writer = ImageWriter(sys.argv[1])
stage = execution()
if sys.argv[2] == "0":  # so that there is a picture, however slow the machine
    writer.write(picture, stage, NOW)
print("ready", flush=True)
while True:
    writer.write(picture, stage, NOW)
"""


@pytest.mark.parametrize("rounds", [1, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_killed_writer_leaves_no_torn_picture(tmp_path, rounds):
    """Four writers of large pictures a round, each killed at another moment: what has a final name is whole."""
    moments = random.Random(7)  # noqa: S311  # moments, not secrets
    for round_ in range(rounds):
        writers = [in_a_process(ENDLESS, str(tmp_path / f"{round_}-{place}"), str(place)) for place in range(4)]
        for writer in writers:
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                writer.wait(moments.uniform(0.0, 0.06))
            writer.kill()
        for writer in writers:
            writer.stdout.close()
            assert writer.wait() != 0
    pictures = list(tmp_path.rglob("*.png"))
    assert pictures
    for path in pictures:
        png.check(path.read_bytes())
