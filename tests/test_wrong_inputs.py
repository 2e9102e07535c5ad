"""Inputs of people who err: each is answered by one message that says what came, what is allowed and what to do.

`tests/data/wrong_inputs.md` is the table of all of them, to be read; REWRITE=1 writes it anew.
"""

import os
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

import rxpipe as rxp
from rxpipe.cli.app import app

TABLE = Path(__file__).parent / "data" / "wrong_inputs.md"

NO_MESSAGE = re.compile(r"Error$|Usage:|Try '|backend:|run 2\d+|txt2img |\d+ of |rxpipe: to continue")

FILES = {
    "twice.yaml": "txt2img:\n  prompt: a\n  prompt: b\n",
    "twice.json": '{"txt2img": {\n "prompt": "a",\n "prompt": "b"}}',
    "twice.toml": '[txt2img]\nprompt = "a"\nprompt = "b"\n',
    "tab.yaml": "txt2img:\n\tprompt: a\n",
    "comment.json": '{\n // a comment\n "txt2img": {"prompt": "a"}}',
    "comma.json": '{"txt2img": {"prompt": "a",}}',
    "backslash.toml": 'out = "C:\\users\\me"\n[txt2img]\nprompt = "a"\n',
    "off.toml": '[txt2img]\nprompt = "x"\n[upscale]\nenabled = false\n',
    "key.toml": '[txt2img]\nprompt = "x"\ncfg = 7\n',
    "section.toml": '[txt2image]\nprompt = "x"\n',
    "range.toml": "[txt2img]\nsteps = 0\nwidth = 513\ncfg_scale = 500\n",
    "type.toml": '[txt2img]\nsteps = "many"\n',
    "list.json": "[1, 2]",
    "table.toml": "txt2img = 3\n",
    "empty.toml": "",
    "empty.json": "",
    "none.toml": 'out = "x"\n',
    "latin.toml": b'[txt2img]\nprompt = "caf\xe9"\n',
    "binary.toml": b"\x7fELF\0\0\0\0",
    "text.txt": "a lighthouse at dusk\n",
    "alias.yaml": "a: &a [x]\ntxt2img: {prompt: *b}\n",
    "tag.yaml": "txt2img: {images: !!int ''}\n",
    "python.yaml": "txt2img: !!python/object:os.system {}\n",
    "unclosed.json": '{"txt2img": {"prompt": "a"',
    "unclosed.toml": '[txt2img\nprompt = "a"\n',
    "digits.json": '{"txt2img": {"steps": ' + "9" * 5000 + "}}",
    "deep.json": "[" * 5000,
    "order.toml": 'order = "fast"\n[txt2img]\nprompt = "x"\n',
    "torn.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "folder/": None,
    "plain.png": "picture",
    "noise.jpg": b"\xff\xd8\xff\xe0not a picture",
}
OTHERS = {
    "ünï/ö.toml": '[txt2img]\nprompt = "a"\n',
    "four.toml": '[txt2img]\nprompt = "a"\n[img2img]\n[adetailer]\n[upscale]\n',
    "photo.png": "picture",
    "empty.png": b"",
    "empty.csv": "",
    "columns.csv": "prompt,stepz\na,3\n",
    "noprompt.csv": "a,b\n1,2\n",
    "page.json": '{"nodes": [], "links": []}',
}
"""Files of the inputs below; those above are each run by themselves too."""

INPUTS = [
    *(f"run {name} --dry-run" for name in FILES if name not in {"off.toml", "plain.png"}),
    "run missing.toml --dry-run",
    "run missing --dry-run",
    "run plain.png --dry-run",
    "run off.toml --set upscale.scale=4 --dry-run",
    "run --images 0 --dry-run",
    "run --images -3 --dry-run",
    "run --images 100001 --dry-run",
    "run --steps 0 --dry-run",
    "run --steps 5000 --dry-run",
    "run --cfg 500 --dry-run",
    "run --cfg-scale nan --dry-run",
    "run --width 513 --dry-run",
    "run --height 8 --dry-run",
    "run --size 768 --dry-run",
    "run --size axb --dry-run",
    "run --size 513x512 --dry-run",
    "run --size 768x512 --width 512 --dry-run",
    "run --seed -2 --dry-run",
    "run --hires 0.5 --dry-run",
    "run --denoise 2 --dry-run",
    "run --denoise 0.5 --stages txt2img --dry-run",
    "run --scale 0 --dry-run",
    "run --scale 2 --stages txt2img --dry-run",
    "run --stages txt2image --dry-run",
    "run --stages upscale,txt2img --dry-run",
    "run --stages txt2img,txt2img --dry-run",
    "run --stages , --dry-run",
    "run --stages img2img --dry-run",
    "run --stages adetailer --dry-run",
    "run --stages txt2img --set upscale.scale=2 --dry-run",
    "run --set foo --dry-run",
    "run --set =5 --dry-run",
    "run --set txt2img.=5 --dry-run",
    "run --set txt2img.promt=x --dry-run",
    "run --set txtimg.prompt=x --dry-run",
    "run --set txt2img=x --dry-run",
    "run --set txt2img.steps=many --dry-run",
    "run --set txt2img.steps=[1 --dry-run",
    "run --set upscale.scale= --dry-run",
    "run --set img2img.mask=missing.png --dry-run",
    "run --set txt2img.hires.scle=2 --dry-run",
    "run --set retry.attempts=-1 --dry-run",
    "run --set order=fast --dry-run",
    "run --order fast --dry-run",
    "run --save some --dry-run",
    "run --input missing.png --dry-run",
    "run --input torn.png --dry-run",
    "run --input text.txt --dry-run",
    "run --input folder --dry-run",
    "run --backend sketc",
    "run --backend http://",
    "run --backend http://127.0.0.1:99999",
    "run --backend ftp://127.0.0.1",
    "run --backend embedded:pase=1",
    "run --backend embedded:pace=fast",
    "run --backend http://127.0.0.1:9 --images 1 --stages txt2img",
    "run --backend http://127.0.0.1:9 --pace 1",
    "run --pace -1",
    "run --out text.txt --backend embedded --images 1 --stages txt2img",
    "run --out /dev/null/x --backend embedded --images 1 --stages txt2img",
    "run --out ~nobody-here/x --backend embedded --images 1 --stages txt2img",
    "info missing.png",
    "info text.txt",
    "info torn.png",
    "info noise.jpg",
    "info folder",
    "stages txt2image",
    "doctor http://127.0.0.1:9",
    "doctor http://",
    "doctor nonsense",
    "testserver --flavour comfy",
    "testserver --draw cats",
    "testserver --port 80000",
    "testserver --latency -1",
    "run ünï/ä.toml --dry-run",
    "run fuor.toml --dry-run",
    "run --prompts empty.csv --dry-run",
    "run --prompts columns.csv --dry-run",
    "run --prompts noprompt.csv --dry-run",
    "run --prompts four.toml --dry-run",
    "run --prompts folder --dry-run",
    "run --seed abc --dry-run",
    "run --seed 99999999999999999999999 --dry-run",
    "run --seed 18446744073709551615 --images 2 --dry-run",
    "run --width 99999999999999999999999999999999 --dry-run",
    "run --cfg 1e400 --dry-run",
    "run --cfg 7,5 --dry-run",
    "run --denoise 50% --dry-run",
    "run --promt x --dry-run",
    "run --clip-skip 2 --dry-run",
    "run --n_iter 2 --dry-run",
    "run --dry-run=yes",
    "run --prompt",
    "run --set txt2img.steps=3 --set txt2img.steps=4 --dry-run",
    "run --steps 3 --set txt2img.steps=4 --dry-run",
    "run --hires 2 --set txt2img.hires.scale=3 --dry-run",
    "run --stages txt2img --stages upscale --dry-run",
    "run --trust --no-trust --dry-run",
    "run --no-store --store x",
    "run --backend auto --backend embedded",
    "run four.toml --stages '' --dry-run",
    "run --sweep txt2img.steps --dry-run",
    "run --sweep txt2img.stepz=1,2 --dry-run",
    "run --sweep txt2img.steps=3 --sweep txt2img.steps=4 --dry-run",
    "run --sweep upscale.scale=2,3 --stages txt2img --dry-run",
    "run --no-variants --sweep txt2img.steps=1,2 --dry-run",
    "run --prompt 'a {b' --dry-run",
    "run --prompt 'a __nope__' --dry-run",
    "run --prompt 'a [[slot]]' --dry-run",
    "run --slot time=dawn --prompt x --dry-run",
    "run --slot time=dawn --slot time=dusk --prompt [[time]] --dry-run",
    "run --wildcards nope --prompt __x__ --dry-run",
    "run --random 5 --prompt a --dry-run",
    "run --limit 1 --prompt {a|b} --dry-run",
    "run --seeds odd --prompt {a|b} --dry-run",
    "run --replace '' --dry-run",
    "run --replace cat,dog --prompt 'a horse' --dry-run",
    "run --quality 50 --dry-run",
    "run --name [sead] --dry-run",
    "run --name '[datetime<%H><Berlin>]' --dry-run",
    "run --workflow page.json --dry-run",
    "run --workflow photo.png --dry-run",
    "run --bind prompt=6.text --dry-run",
    "run --preset four.toml --dry-run",
    "run --export-comfyui out.json --backend embedded",
    "run --input empty.png --dry-run",
    "run --input *.jpeg --dry-run",
    "run --input photo.png --set img2img.mask=empty.png --dry-run",
    "run empty.png --dry-run",
    "run a.png b.png --input photo.png --dry-run",
    "run --images 1 0 --dry-run",
    "four.toml",
    "runn",
    "'a cat'",
    "--prompt x",
    "runs --since yesterday",
    "runs --status done",
    "rate last 9",
    "rate last",
    "learn sumary",
    "lint nope",
    "lint folder",
    "convert nope",
    "doctor a b",
    "stages --jsn",
    "info",
]

IN_CODE = {
    'PipelineRunner("http://127.0.0.1:7860")': lambda: rxp.PipelineRunner("http://127.0.0.1:7860"),
    "PipelineExecutor(None)": lambda: rxp.PipelineExecutor(None),
    "rxpipe.txtimg": lambda: rxp.txtimg,
    'rxpipe.txt2img(promt="x")': lambda: rxp.txt2img(promt="x"),
    "rxpipe.txt2img(steps=0)": lambda: rxp.txt2img(steps=0),
    "rxpipe.chain().plan.check()": rxp.chain().plan.check,
    "rxpipe.chain(rxpipe.upscale)": lambda: rxp.chain(rxp.upscale),
    'rxpipe.chain("txt2img")': lambda: rxp.chain("txt2img"),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with all the files, as the working directory."""
    for name, content in {**FILES, **OTHERS}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if content is None:
            path.mkdir()
        elif content == "picture":
            Image.new("RGB", (8, 8)).save(path)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("RXPIPE_CONFIG", str(tmp_path / "no-config.toml"))
    return tmp_path


def _message(command, folder):
    """What is printed, on one line and without the folder and the run's id."""
    outcome = CliRunner().invoke(app, shlex.split(command), catch_exceptions=False)
    assert outcome.exit_code in {1, 2}, f"{command}: {outcome.output}"
    lines = [line.strip() for line in outcome.output.replace(str(folder), "...").splitlines()]
    return " / ".join(line for line in lines if line and not NO_MESSAGE.match(line))


def _rows(folder):
    for command in INPUTS:
        yield f"rxpipe {command}", _message(command, folder)
    for code, call in IN_CODE.items():
        with pytest.raises((rxp.errors.RxPipeError, AttributeError, TypeError)) as raised:
            call()
        yield code, f"{type(raised.value).__name__}: {raised.value}".replace("\n", " / ")


def test_every_wrong_input_has_its_message(here):
    """No traceback, and the text that was read and found good."""
    table = "".join(f"* `{asked}`\n  {said}\n" for asked, said in _rows(here))
    if os.environ.get("REWRITE"):
        TABLE.write_text(table)
    assert len(INPUTS) + len(IN_CODE) >= 160
    assert table == TABLE.read_text()
