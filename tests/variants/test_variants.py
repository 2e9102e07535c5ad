"""Runs with variants: lazy, in order, with seeds, names, lineage; sweeps and their values; what is refused."""

from __future__ import annotations

import gc
import itertools
import sys
import tracemalloc
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline"))
from instant import Instant, run_of

import rxpipe as rxp
from rxpipe.pictures.metadata import read_info


def chain_of(prompt="a {red|blue} house", images=1, first=3, stages=(), **variants):
    return rxp.chain(rxp.txt2img(prompt, images=images, seed=first), *stages, out=None, variants=variants)


def rendered(chain, **options):
    backend = Instant()
    result = rxp.PipelineRunner(backend).run(chain, **options)
    assert result.status == "completed", result.error
    return backend.rendered


@pytest.mark.parametrize("order", ["stage", "image", "auto"])
def test_each_image_is_drawn_with_its_variant(order):
    """In every stage, inherited settings too; in each order of a run."""
    sweep = {"cfg_scale": "5,7", "upscale.scale": [1.5, 2]}
    backend = Instant()
    result = run_of(
        rxp.txt2img("a {red|blue} house", seed=3),
        rxp.img2img(),
        rxp.upscale(),
        backend=backend,
        order=order,
        variants={"sweep": sweep},
    )
    drawn = {
        stage: [each for each in backend.rendered if each.stage_type == stage] for stage in result.plan.stage_types
    }
    wished = list(itertools.product(["a red house", "a blue house"], [5, 7], [1.5, 2]))
    assert [(each.generation.prompt, each.generation.cfg_scale) for each in drawn["img2img"]] == [w[:2] for w in wished]
    assert [each.config.scale for each in drawn["upscale"]] == [w[2] for w in wished]
    assert [tuple(record.variant.values()) for record in result.images][-1] == ("8", "7", "2", "a blue house")
    assert {each.seed for each in backend.rendered} == {3}


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [("per_image", [3, 4, 3, 4]), ("fixed", [3, 3, 3, 3]), ("counted", [3, 4, 5, 6])],
)
def test_seeds(seeds, expected):
    """Of two variants with two images each; a stage with a seed of its own counts likewise."""
    drawn = rendered(chain_of(images=2, seeds=seeds, stages=[rxp.img2img(seed=50)]))
    assert [each.seed for each in drawn if each.stage_type == "txt2img"] == expected
    assert [each.seed - 47 for each in drawn if each.stage_type == "img2img"] == expected


def test_a_sweep_of_seeds_is_the_seed():
    assert [each.seed for each in rendered(chain_of("a", sweep={"seed": "7,9"}))] == [7, 9]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5,7,9", [5, 7, 9]), ("5-8", [5, 6, 7, 8]), ("1-10 (+3)", [1, 4, 7, 10]), ("1-9 (+3)", [1, 4, 7]),
        ("10-1 (-4)", [10, 6, 2]), ("1-10 [4]", [1, 4, 7, 10]), ("5, 10-12", [5, 10, 11, 12]), ("8-6", [8, 7, 6]),
        ([5, 6], [5, 6]), ("5,5", [5]),
    ],
)  # fmt: skip
def test_values_of_a_sweep(text, expected):
    """Lists, and A1111's ranges, which stop at their end."""
    assert list(chain_of("a", sweep={"steps": text}).variants.axes["txt2img.steps"]) == expected


def test_ranges_of_fractions_and_names():
    chain = chain_of("a", sweep={"cfg_scale": "5-6 (+0.5)", "sampler_name": '"Euler a","DPM++ 2M, x"'})
    assert list(chain.variants.axes.values()) == [(5, 5.5, 6), ("Euler a", "DPM++ 2M, x")]


def test_a_checkpoint_changes_last():
    """Whatever the order of the axes: loading one costs more than a picture."""
    chain = chain_of("a {b|c}", sweep={"cfg_scale": "5,7", "model": "x,y"})
    models = [each.values["txt2img.model"] for each in chain.variants]
    assert models == ["x"] * 4 + ["y"] * 4


def test_words_are_searched_and_replaced():
    """In all prompts; the first is one of them."""
    chain = chain_of("a mill by a mill", replace=[["mill", "castle"]])
    assert [each.generation.prompt for each in rendered(chain)] == ["a mill by a mill", "a castle by a castle"]


def test_slots_and_alternatives_multiply():
    chain = chain_of("a {red|blue} house at [[time]]", slots={"time": ["dawn", "dusk"]})
    prompts = [each.generation.prompt for each in rendered(chain)]
    assert prompts == [f"a {c} house at {t}" for c in ("red", "blue") for t in ("dawn", "dusk")]


def test_chance_gives_the_same_list_for_the_same_seed():
    """Of the run, or of the config; and another for another."""
    wild = "{a|b|c|d|e|f} {a|b|c|d|e|f}"
    lists = [
        [each.generation.prompt for each in rendered(chain_of(wild, images=20, first=seed, mode="random", **more))]
        for seed, more in [(3, {}), (3, {}), (4, {}), (4, {"seed": 3})]
    ]
    assert lists[0] == lists[1] == lists[3] != lists[2]
    assert len(set(lists[0])) > 5


def test_the_plan_is_what_is_drawn():
    """As --dry-run prints it."""
    chain = chain_of("{a|b|c}", images=4, mode="random", count=5, sweep={"steps": "5,6"})
    planned = [(each.values["txt2img.prompt"], each.values["txt2img.steps"]) for each in chain.variants.seeded(3)]
    assert chain.plan.images == 5 * 2 * 4
    drawn = [(each.generation.prompt, each.generation.steps) for each in rendered(chain)]
    assert drawn == [pair for pair in planned for _ in range(4)]


def test_variants_of_photos(tmp_path):
    """Each photo with each variant; the names of both are in the file's."""
    run_of(rxp.txt2img("a", images=2, seed=1), out=tmp_path / "p", name="photo[number]")
    photos = sorted((tmp_path / "p").rglob("*.png"))
    result = run_of(
        rxp.img2img(prompt="{x|y}", seed=5), input=photos, out=tmp_path / "o", variants={"sweep": {"steps": "3,4"}}
    )
    assert len(result.images) == 8
    names = [record.path.name for record in result.images]
    assert names[0] == "00000-00000-photo1-5-v001-steps=3.png"
    assert names[-1] == "00007-00001-photo2-6-v004-steps=4.png"
    lineage = read_info(result.images[-1].path).lineage
    assert lineage.origin == "00001-photo2.png"
    assert lineage.metadata["variant"] == {"number": 4, "img2img.steps": 4, "img2img.prompt": "y"}


@pytest.mark.parametrize(
    ("variants", "words"),
    [
        ({"sweep": {"cfg_scale": "5,500"}}, "txt2img.cfg_scale: got 500"),
        ({"sweep": {"stepz": "5"}}, "did you mean 'steps'?"),
        ({"sweep": {"upscale.scale": "2"}}, "upscale does not run; the stages are txt2img"),
        ({"sweep": {"txt2img.cfgscale": "2"}}, "did you mean 'cfg_scale'?"),
        ({"sweep": {"images": "2,3"}}, "images says how a run is made"),
        ({"sweep": {"steps": "1-9 (-1)"}}, "no value lies between"),
        ({"sweep": {"steps": ""}}, "give values, such as steps=5,7,9"),
        ({"slots": {"time": ["a"]}}, "[[time]] stands in no prompt"),
        ({"replace": [["castle", "mill"]]}, "'castle' stands in no prompt"),
        ({"replace": [["red"]]}, "at least one other"),
        (
            {"sweep": {"steps": "1-60", "cfg_scale": "1-30"}},
            "2 prompts x 60 steps x 30 cfg_scale are 3,600; the limit is 1,000",
        ),
        ({"wildcards": ["/nowhere"]}, "there is no such folder or file"),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(variants, words):
    with pytest.raises(rxp.ConfigError) as caught:
        chain_of(**variants)
    assert words in str(caught.value)


def test_the_first_picture_comes_before_the_second_variant_is_made():
    """And each further one when it can begin; 100,000 of them make no list."""
    chain = chain_of("{" + "|".join(map(str, range(400))) + "} {" + "|".join(map(str, range(250))) + "}", limit=100_000)
    assert chain.plan.images == 100_000
    made, events = [], []
    variants = chain.variants
    original = variants.variant
    chain.__dict__["variants"] = variants
    variants.__class__ = type("Watched", (type(variants),), {"variant": lambda _, n: made.append(n) or original(n)})
    executor = rxp.PipelineExecutor(Instant())
    seen = []
    executor.events.subscribe(events.append)

    def on_event(event):
        if isinstance(event, rxp.StageImageProgress):
            seen.append((event.image_index, max(made)))
            if event.image_index == 20:
                executor.active.cancel()

    executor.events.subscribe(on_event)
    run = executor.start(chain)
    assert run.wait(30)
    assert seen[0] == (1, 1)
    assert all(latest <= index + 1 for index, latest in seen)


def test_a_run_with_variants_is_resumed(tmp_path):
    """From its record alone; what was drawn is not drawn again."""
    backend = Instant()
    executor = rxp.PipelineExecutor(backend, store=tmp_path / "s.sqlite3")

    def cancel_at_three(event):
        if isinstance(event, rxp.StageImageProgress) and event.image_index == 3 and executor.active:
            executor.active.cancel()

    watching = executor.events.subscribe(cancel_at_three)
    chain = rxp.chain(
        rxp.txt2img("a {1|2|3} {x|y}", seed=4), out=tmp_path, variants={"mode": "random", "count": 6, "seed": 1}
    )
    run = executor.start(chain)
    assert run.wait(30)
    watching.dispose()
    assert run.result.status == "cancelled"
    executor.store.flush()
    prompts = [each.generation.prompt for each in backend.rendered]
    result = rxp.PipelineRunner(executor).resume(run.run_id)
    assert result.tally.done == 6
    assert sum(record.resumed for record in result.records) >= 2
    whole = [each.values["txt2img.prompt"] for each in chain.variants]
    again = [each.generation.prompt for each in backend.rendered[len(prompts) :]]
    assert whole[: len(prompts)] == prompts
    assert again == whole[sum(record.resumed for record in result.records) :]


@pytest.mark.slow
def test_memory_is_flat_over_many_variants():
    """What is held of an image is its record: the growth is that of a run without variants."""

    def grown(count, prompt, **variants):
        backend = Instant()
        backend.rendered = type("Nothing", (), {"append": lambda *_: None})()
        executor, marks = rxp.PipelineExecutor(backend), []

        def mark(event):
            if isinstance(event, rxp.StageImageProgress) and event.stage_index == 3 and event.image_index % count == 0:
                gc.collect()
                marks.append(tracemalloc.get_traced_memory()[0])

        executor.events.subscribe(mark)
        stages = (rxp.txt2img(prompt, seed=1, images=1 if variants else 2 * count), rxp.img2img(), rxp.adetailer())
        run = executor.start(
            rxp.chain(*stages, rxp.upscale(), out=None, order="image", save="final", variants=variants or None)
        )
        assert run.wait(100)
        return marks[1] - marks[0]

    tracemalloc.start()
    try:
        words = "{" + "|".join(f"mill {n}" for n in range(200)) + "}"
        grown(20, "a mill")
        varied, plain = grown(100, words, sweep={"cfg_scale": [5]}), grown(100, "a mill")
    finally:
        tracemalloc.stop()
    assert varied < 1.6 * plain


def test_wildcards_of_a_resumed_run_are_those_of_its_folder(tmp_path, monkeypatch):
    """Wherever it is resumed from."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "wild").mkdir()
    (tmp_path / "wild" / "colour.txt").write_text("red\nblue\n")
    monkeypatch.chdir(tmp_path)
    executor = rxp.PipelineExecutor(Instant(), store=tmp_path / "s.sqlite3")
    runner = rxp.PipelineRunner(executor)
    chain = rxp.chain(rxp.txt2img("a __colour__ mill"), variants={"wildcards": ["wild"]})
    first = runner.run(chain)
    executor.store.flush()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert all(record.resumed for record in runner.resume(first.run_id).records)
