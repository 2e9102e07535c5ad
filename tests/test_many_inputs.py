"""Many inputs, many prompts and outputs on the command line: folders, lists, formats, names, variants, grids."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from rxpipe.cli.app import app
from rxpipe.pictures.a1111 import parse_parameters
from rxpipe.pictures.metadata import read_info

QUICK = ["--stages", "txt2img", "--size", "64x64", "--steps", "1", "--backend", "embedded", "--no-store"]


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words, code=0):
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == code, done.output
        return done.output

    return run


def planned(cli, *words, code=0):
    """What --dry-run --json prints, a plan for each run."""
    return [json.loads(line) for line in cli("run", *words, "--dry-run", "--json", code=code).splitlines()]


def prompts_of(plans):
    return [plan["stages"][0]["generation"]["prompt"] for plan in plans]


def test_a_prompt_makes_one_picture(cli):
    """And not the two of the first try."""
    assert [plan["images"] for plan in planned(cli, "--prompt", "a mill")] == [1]
    assert [plan["images"] for plan in planned(cli)] == [2]
    assert [plan["images"] for plan in planned(cli, "--prompt", "a mill", "--images", "3")] == [3]


def test_each_prompt_is_a_run(cli):
    assert prompts_of(planned(cli, "--prompt", "a mill", "--prompt", "a house")) == ["a mill", "a house"]


@pytest.mark.parametrize(
    ("name", "text", "prompts"),
    [
        ("lines.txt", "a mill\n# not this\na house, red\n", ["a mill", "a house, red"]),
        ("blocks.txt", "a mill\nby the sea\n\na house\n", ["a mill by the sea", "a house"]),
        ("bom.txt", "\ufeffa mill\r\na house\r\n", ["a mill", "a house"]),
        ("list.json", '["a mill", {"prompt": "a house", "steps": 3}]', ["a mill", "a house"]),
        ("list.csv", 'prompt,steps\na mill,\n"a house, red",3\n', ["a mill", "a house, red"]),
        ("semi.csv", "prompt;cfg\na mill;5\na house, red;3\n", ["a mill", "a house, red"]),
        ("list.tsv", "Prompt\tNegative prompt\na mill\tblurry\n", ["a mill"]),
        ("a1111.txt", '--prompt "a mill" --steps 3 --sampler_name "Euler a"\na house\n', ["a mill", "a house"]),
    ],
)
def test_lists_of_prompts(cli, tmp_path, name, text, prompts):
    """Text by lines or blocks, CSV of any separator, JSON, and the lines of A1111's script."""
    (tmp_path / name).write_bytes(text.encode())
    assert prompts_of(planned(cli, "--prompts", name)) == prompts


def test_a_row_has_settings_of_its_own(cli, tmp_path):
    """By the names of settings, or with their stage."""
    (tmp_path / "l.csv").write_text("prompt,steps,size,upscale.scale,negative\na mill,3,128x64,3,blurry\n")
    [plan] = planned(cli, "--prompts", "l.csv", "--stages", "txt2img,upscale")
    drawn, larger = (stage["config"] for stage in plan["stages"])
    assert (drawn["steps"], drawn["width"], drawn["height"], drawn["negative_prompt"]) == (3, 128, 64, "blurry")
    assert larger["scale"] == 3


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("l.csv", "text,steps\na,3\n", "names no column prompt, but 'text, steps'"),
        ("l.csv", "prompt,stepz\na,3\n", "unknown column stepz; did you mean 'steps'?"),
        ("l.csv", "prompt,steps\na,3,4\n", "row 2: has more cells"),
        ("l.csv", "prompt,steps\n,3\n", "row 2: has no prompt"),
        ("l.csv", "prompt,steps\na,many\n", "steps: got 'many'"),
        ("l.json", "[1]", "got 1 where a text or an object was expected"),
        ("l.json", "[", "not well-formed JSON"),
        ("l.txt", "\n# only this\n", "holds no prompt"),
        ("l.txt", '--prompt "a" --seed\n', "--seed has no value"),
        ("l.txt", "--steps 3\n", "has no prompt"),
    ],
)
def test_wrong_lists_are_refused(cli, tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    assert words in cli("run", "--prompts", name, "--dry-run", code=2)


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("b.jpg", "a.png", "notes.txt"):
        path = tmp_path / "photos" / name
        path.write_text("x") if name.endswith("txt") else Image.new("RGB", (16, 16), "red").save(path)
    return tmp_path / "photos"


@pytest.mark.parametrize("given", [["photos"], ["photos/*.*g"], ["photos/a.png", "photos/b.jpg"]])
@pytest.mark.usefixtures("photos")
def test_photos_keep_their_names(cli, given, tmp_path):
    """Of a folder, a pattern, or named one by one; in the files' names and in their metadata."""
    words = [word for each in given for word in ("--input", each)]
    cli("run", *words, "--stages", "upscale", "--backend", "embedded", "--no-store", "--out", "o")
    made = sorted((tmp_path / "o").rglob("*.*"))
    made = [path for path in made if path.is_file()]
    assert [path.name for path in made] == ["00000-a.png", "00001-b.png"]
    assert [read_info(path).lineage.origin for path in made] == ["a.png", "b.jpg"]


@pytest.mark.parametrize(("given", "words"), [("empty", "no picture in the folder"), ("*.xyz", "no file matches")])
def test_an_input_of_nothing_is_refused(cli, tmp_path, given, words):
    (tmp_path / "empty").mkdir()
    assert words in cli("run", "--input", given, "--stages", "upscale", "--dry-run", code=2)


def test_pictures_beside_an_input_are_refused(cli, tmp_path):
    """As a shell leaves them of `--input *.png`."""
    cli("run", "--prompt", "a", "--images", "3", *QUICK, "--name", "[number]", "--out", "o")
    files = sorted((tmp_path / "o").rglob("*.png"))
    said = cli("run", "--input", *files, "--dry-run", code=2)
    assert "stands beside --input" in said
    assert "in quotes" in said


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_formats_keep_what_others_read(cli, tmp_path, form):
    """A1111's text in the EXIF, as it writes it, and our lineage."""
    cli("run", "--prompt", "a mill, été", *QUICK, "--seed", "7", "--format", form, "--quality", "80", "--out", "o")
    [path] = [each for each in (tmp_path / "o").rglob("*.*") if each.is_file()]
    with Image.open(path) as picture:
        comment = picture.getexif().get_ifd(0x8769)[0x9286]
    assert comment.startswith(b"UNICODE\0")
    text = parse_parameters(comment[8:].decode("utf-16-be"))
    assert (text.prompt, text.settings["Seed"]) == ("a mill, été", "7")
    assert read_info(path).lineage.seed == 7
    assert path.suffix == (".jpg" if form == "jpeg" else ".webp")


@pytest.mark.parametrize(
    ("embed", "form", "texts"),
    [
        ("all", "png", {"parameters", "rxpipe"}), ("parameters", "png", {"parameters"}), ("none", "png", set()),
        ("parameters", "jpeg", {"UserComment"}), ("none", "jpeg", set()), ("none", "webp", set()),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_what_is_embedded(cli, tmp_path, embed, form, texts):
    cli("run", "--prompt", "a", *QUICK, "--format", form, "--metadata", embed, "--out", "o")
    [path] = [each for each in (tmp_path / "o").rglob("*.*") if each.is_file()]
    assert set(read_info(path).texts) == texts


def test_names_of_files(cli, tmp_path):
    cli("run", "--prompt", "an old mill", *QUICK, "--seed", "7", "--name", "[prompt_words]-[steps]", "--out", "o")
    assert [path.name for path in (tmp_path / "o").rglob("*.png")] == ["00000-an old mill-1.png"]
    assert "unknown token [sed]" in cli("run", "--prompt", "a", *QUICK, "--name", "[sed]", code=2)


@pytest.mark.slow
def test_a_dry_run_prints_every_variant_and_equals_the_run(cli, tmp_path):
    """In order, with alternatives by chance too."""
    words = ["--prompt", "a {red|blue|green} mill", "--random", "6", "--sweep", "cfg_scale=5,7", *QUICK, "--seed", "3"]
    [plan] = planned(cli, *words)
    assert (plan["images"], len(plan["variants"])) == (12, 12)
    assert "  12  txt2img.cfg_scale: 7, txt2img.prompt: a " in cli("run", *words, "--dry-run")
    cli("run", *words, "--out", "o")
    infos = [read_info(path) for path in sorted((tmp_path / "o").rglob("*.png"))]
    assert [info.lineage.metadata["variant"] for info in infos] == plan["variants"]
    assert [info.prompt for info in infos] == [each["txt2img.prompt"] for each in plan["variants"]]


def test_alternatives_of_a_file_are_drawn_as_they_stand_unless_asked(cli, tmp_path):
    """A picture's prompt may hold braces that mean nothing; a note says so."""
    (tmp_path / "c.toml").write_text('[txt2img]\nprompt = "a {red|blue} mill"\n')
    said = cli("run", "c.toml", "--dry-run")
    assert "is drawn as it stands; --variants draws its alternatives" in said
    assert [plan["images"] for plan in planned(cli, "c.toml", "--variants")] == [2]
    assert [plan["images"] for plan in planned(cli, "--prompt", "a {red|blue} mill", "--no-variants")] == [1]


@pytest.mark.slow
def test_a_grid_is_drawn_at_the_end_or_later(cli, tmp_path):
    """Of a run of the store or of a folder; with the axes that are named."""
    quick = [word for word in QUICK if word != "--no-store"]
    said = cli("run", "--prompt", "a {red|blue} mill", "--sweep", "cfg_scale=5,7,9", *quick, "--out", "o", "--grid")
    [sheet] = (tmp_path / "o" / "txt2img-grids").rglob("grid-0000.png")
    assert "grid: o" in said
    with Image.open(sheet) as picture:
        assert picture.width > 2 * 64
        assert picture.height > 3 * 64
    run_id = read_info(next((tmp_path / "o" / "txt2img-images").rglob("*.png"))).lineage.id.rpartition("-")[0]
    assert "grid-0001.png" in cli("grid", run_id, "--axes", "prompt,cfg_scale")
    assert cli("grid", run_id, "--out", "sheet.jpg").strip() == "sheet.jpg"
    assert "there is no axis 'cfg'" in cli("grid", run_id, "--axes", "cfg", code=2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sweep", "cfg_scale"], "--sweep: got 'cfg_scale', should be like txt2img.cfg_scale=5,7,9"),
        (["--slot", "x"], "--slot: got 'x', should be like time=dawn,dusk"),
        (["--sweep", "cfg_scale=5", "--no-variants"], "--no-variants and --sweep contradict"),
        (["--prompt", "a __b__"], "there is no wildcard __b__; none are given"),
        (["--sweep", "steps=1-900", "--sweep", "cfg_scale=1-9"], "8,100; the limit is 1,000. Raise it (--limit"),
        (["--seeds", "other", "--sweep", "steps=1,2"], "--seeds: got 'other', should be 'fixed'"),
    ],
)
def test_what_is_wrong_is_said(cli, words, said):
    assert said in cli("run", *words, *QUICK, "--dry-run", code=2)


def test_an_option_given_twice_is_said_and_the_last_counts():
    """Aliases of a shell rely on the last one; nothing is dropped in silence."""
    ran = CliRunner().invoke(app, ["run", "--seed", "1", "--seed=2", "--prompt", "--seed", "--dry-run", "--json"])
    assert (json.loads(ran.stdout)["seed"], ran.stderr) == (
        2,
        "rxpipe: --seed: is given 2 times; the last one counts, 2\n",
    )
    same = CliRunner().invoke(app, ["run", "--seed", "1", "--seed", "1", "-v", "-v", "--dry-run", "--json"])
    assert (same.exit_code, same.stderr) == (0, "")


def test_stages_are_named_in_any_case_and_with_blanks(cli):
    (plan,) = planned(cli, "--stages", "Txt2Img upscale", "--prompt", "a")
    assert [stage["stage_type"] for stage in plan["stages"]] == ["txt2img", "upscale"]


def test_a_stage_is_switched_off_by_null(cli):
    """Not answered by how to switch it on."""
    (plan,) = planned(cli, "--set", "upscale=null", "--prompt", "a")
    assert [stage["stage_type"] for stage in plan["stages"]] == ["txt2img", "img2img", "adetailer"]
