"""Configs of any size, depth and number are read or refused in seconds, and nothing is printed before it is cut."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from rxpipe.config import PipelineConfig, Txt2ImgConfig, override, read_values
from rxpipe.config.bounds import MAX_BYTES, MAX_DEPTH, MAX_DIGITS, MAX_VALUES
from rxpipe.errors import ConfigError

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} {{<<: [{','.join([f'*{chr(97 + n)}'] * 9)}]}}\n" for n in range(9)
)
HUGE = "9" * 5000

HOSTILE = [
    ("a.yaml", BOMB, f"its aliases stand for more than {MAX_VALUES:,} values"),
    ("a.yaml", MERGES, f"its aliases stand for more than {MAX_VALUES:,} values"),
    ("a.yaml", "a: &a {b: *a}", "an alias stands within what it repeats"),
    ("a.yaml", f"txt2img: {{steps: {HUGE}}}", f"a number of about 5,000 digits; at most {MAX_DIGITS} are allowed"),
    ("a.yaml", f"txt2img: {{steps: 0x{'f' * 5000}}}", f"at most {MAX_DIGITS} are allowed"),
    ("a.yaml", f"txt2img: {{steps: 1{':1' * 5000}}}", f"at most {MAX_DIGITS} are allowed"),
    ("a.yaml", f"txt2img: {{steps: 1{':1' * 5000}.5}}", "a value is not what its tag says"),
    ("a.yaml", "txt2img: {steps: !!bool maybe}", "a value is not what its tag says (KeyError"),
    ("a.yaml", "txt2img: {steps: !!int ''}", "a value is not what its tag says (IndexError"),
    ("a.yaml", "txt2img: {steps: !!timestamp foo}", "a value is not what its tag says (AttributeError"),
    ("a.yaml", "txt2img: {steps: !!float ''}", "a value is not what its tag says"),
    ("a.yaml", "txt2img: {steps: !!binary 'x'}", "not well-formed YAML"),
    ("a.yaml", f"txt2img: {{steps: !{'t' * 9000} x}}", "could not determine a constructor"),
    ("a.yaml", f"txt2img: {{steps: *{'t' * 9000}}}", "found undefined alias"),
    ("a.yaml", "- " * 500 + "x", f"nested too deeply; at most {MAX_DEPTH} levels"),
    ("a.yaml", "a: [" + "x," * 200_000 + "]", f"it holds more than {MAX_VALUES:,} values"),
    ("a.yaml", "a: " + "x" * MAX_BYTES, "larger than 1 MiB, the most that is allowed"),
    ("a.toml", ".".join(["a"] * 50_000) + " = 1", f"nested too deeply; at most {MAX_DEPTH} levels"),
    ("a.toml", f"[{'.'.join(['a'] * 50_000)}]", f"nested too deeply; at most {MAX_DEPTH} levels"),
    ("a.toml", f"x = {{{' . '.join(['a'] * 50_000)} = 1}}", f"nested too deeply; at most {MAX_DEPTH} levels"),
    ("a.toml", "'a'." + '"b".' * 50_000 + "c = 1", f"nested too deeply; at most {MAX_DEPTH} levels"),
    ("a.toml", f"txt2img = {{ steps = {HUGE} }}", "4300"),
    ("a.toml", f"txt2img = {{ steps = 0x{'f' * 5000} }}", f"at most {MAX_DIGITS} are allowed"),
    ("a.toml", "\n".join(f"k{n} = 1" for n in range(50_000)), "and 49,950 more"),
    ("a.json", f'{{"txt2img": {{"steps": {HUGE}}}}}', f"a number of about 5,000 digits; at most {MAX_DIGITS}"),
    ("a.json", '{"a":' * 900 + "1" + "}" * 900, f"nested too deeply; at most {MAX_DEPTH} levels"),
    ("a.json", f'{{"{"k" * 100_000}": 1}}', "unknown key"),
]


@pytest.mark.sampled(12)
@pytest.mark.parametrize(("name", "text", "told"), HOSTILE, ids=lambda value: value[:24])
def test_a_file_without_bounds_is_refused_in_a_second_and_few_words(tmp_path, name, text, told):
    """By its own error, which says what came, cut, and what is allowed."""
    (tmp_path / name).write_text(text)
    began = time.process_time()
    with pytest.raises(ConfigError) as raised:
        PipelineConfig.load(tmp_path / name)
    assert time.process_time() - began < 5
    assert told in str(raised.value)
    assert max(map(len, raised.value.problems)) < 1000


def test_a_file_that_never_ends_is_not_read_to_its_end():
    """Only as much as a config may have."""
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        read_values(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        (f"txt2img.steps={HUGE}", "a number of about 5,000 digits; at most 100 are allowed"),
        (f"txt2img.steps=0x{'f' * 5000}", "at most 100 are allowed"),
        ("txt2img.steps=" + "[" * 5000, "nested too deeply; at most 64 levels are allowed"),
        (".".join(["a"] * 60_000) + "=1", "nested too deeply; at most 64 levels are allowed"),
        ("x" * 100_000, "not of the form stage.key=value"),
        ("txt2img.styles=" + BOMB.replace("\n", " "), "txt2img.styles: got "),
        ("txt2img.steps=!!bool maybe", "txt2img.steps: got '!!bool maybe', should be a whole number"),
        ("txt2img.steps=!!int ''", "should be a whole number"),
        ("txt2img.steps=!!timestamp foo", "should be a whole number"),
        ("txt2img.steps=&a [*a]", "an alias stands within what it repeats"),
    ],
    ids=lambda value: value[:24],
)
def test_an_assignment_is_held_to_the_limits_of_a_file(assignment, told):
    """And told as shortly."""
    with pytest.raises(ConfigError) as raised:
        PipelineConfig.from_mapping(override({}, [assignment]))
    assert told in str(raised.value)
    assert len(str(raised.value)) < 500


def test_a_number_of_thousands_of_digits_in_code_is_told_without_being_printed():
    """Python itself refuses to print it."""
    with pytest.raises(ConfigError, match="steps: got a number of about 5000 digits, should be at most 1000"):
        Txt2ImgConfig(steps=10**5000)
    with pytest.raises(ConfigError, match="txt2img: Exceeds the limit"):
        Txt2ImgConfig(prompt=10**5000)
    with pytest.raises(ConfigError, match="override_settings"):
        Txt2ImgConfig(override_settings={"x": 10**5000})


@pytest.mark.parametrize(
    "text",
    [
        "txt2img: &p {prompt: a pier}\nimg2img: *p",
        "txt2img: {prompt: !!str 5, seed: 0x10, steps: 1_0}",
        "base: &b {prompt: x}".replace("base", "txt2img") + "\nimg2img: {<<: *b, steps: 3}",
    ],
)
def test_aliases_tags_and_merges_of_an_honest_file_are_read(tmp_path, text):
    """As YAML means them."""
    (tmp_path / "a.yaml").write_text(text)
    assert PipelineConfig.load(tmp_path / "a.yaml").txt2img is not None


def test_a_prompt_may_hold_any_number_of_dots(tmp_path):
    """They are no key."""
    (tmp_path / "a.toml").write_text(
        '[txt2img]\nprompt = """\n' + "a." * 500 + '"\n"""\nnegative_prompt = \'' + "b." * 500 + "' # " + "c." * 99
    )
    assert PipelineConfig.load(tmp_path / "a.toml").txt2img.prompt == "a." * 500 + '"\n'


@pytest.mark.slow
@pytest.mark.parametrize("text", [BOMB, "x: [" + "{}," * 99_000 + "]"], ids=["aliases", "many"])
def test_refusing_takes_little_memory(tmp_path, text):
    """300 MB at most, whatever it stands for."""
    (tmp_path / "a.yaml").write_text(text)
    program = (
        "import sys; from pathlib import Path; from rxpipe.config import PipelineConfig\n"
        "try: PipelineConfig.load(sys.argv[1])\n"
        "except ValueError: print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    ran = subprocess.run(  # noqa: S603  fixed words
        [sys.executable, "-c", program, tmp_path / "a.yaml"], check=True, capture_output=True, text=True
    )
    assert int(ran.stdout) < 300 * 1024
