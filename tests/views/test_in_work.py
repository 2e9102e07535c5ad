"""Several images in work: their places, in a view of each kind."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console
from staged import in_work, picture

from rxpipe.status import ImageStatus, StageStatus
from rxpipe.views.console import ConsoleView
from rxpipe.views.in_work import Tiles, columns_for

STAGE = StageStatus("txt2img", "running", total=9)


def shown(tiles):
    return [(tile.image_number, tile.fraction) for tile in tiles.tiles]


def test_an_image_keeps_its_place_until_another_needs_it():
    """Three in work: one ends and another begins in its place; nothing else moves."""
    tiles = Tiles()
    tiles.follow(in_work((1, 0.1), (2, 0.2), (3, 0.3)))
    tiles.put("a picture", "img2img · image 2", 2)
    tiles.follow(in_work((1, 0.4), (3, 0.5)))
    assert shown(tiles) == [(1, 0.4), (2, None), (3, 0.5)]
    assert tiles.tiles[1].picture == "a picture"
    tiles.follow(in_work((1, 0.4), (3, 0.5), (4, 0.0)))
    assert shown(tiles) == [(1, 0.4), (4, 0.0), (3, 0.5)]
    assert (tiles.tiles[1].picture, tiles.tiles[1].caption) == (None, "img2img · image 4")


def test_a_place_goes_to_the_image_whose_own_was_idle_the_longest():
    tiles = Tiles()
    tiles.follow(in_work((1, 0.1), (2, 0.2), (3, 0.3)))
    tiles.follow(in_work((1, 0.1), (3, 0.3)))
    tiles.follow(in_work((3, 0.3)))
    tiles.follow(in_work((3, 0.3), (4, 0.0)))
    assert shown(tiles) == [(1, None), (4, 0.0), (3, 0.3)]


def test_an_image_keeps_its_place_and_picture_in_its_next_stage():
    tiles = Tiles()
    tiles.follow(in_work((1, 0.9), (2, 0.2)))
    tiles.put("a picture", "img2img · image 1", 1)
    tiles.follow(in_work((1, 0.1), (2, 0.3), stage="upscale"))
    assert [(tile.caption, tile.picture) for tile in tiles.tiles] == [
        ("upscale · image 1", "a picture"),
        ("upscale · image 2", None),
    ]


def test_what_waits_has_no_place_and_one_server_has_one():
    """An image in a server's queue is not in work, and a run with one at a time is shown as such."""
    tiles = Tiles()
    waiting = {1: ImageStatus(0.5), 2: ImageStatus(phase="queued"), 3: ImageStatus(phase="loading")}
    status = in_work()
    tiles.follow(replace(status, stages=(replace(STAGE, in_progress=waiting),)))
    tiles.put("one", "txt2img · image 1", 1)
    tiles.follow(in_work((2, 0.1)))
    assert len(tiles) == 1
    assert tiles.tiles[0].picture == "one", "until the next has a picture"
    tiles.put("two", "txt2img · image 2", 2)
    assert tiles.tiles[0].picture == "two"


def test_a_picture_whose_place_has_gone_to_another_is_left_out_and_a_new_run_has_one_place():
    tiles = Tiles()
    tiles.follow(in_work((1, 0.1), (2, 0.2)))
    tiles.follow(in_work((2, 0.2), (3, 0.3)))
    tiles.put("late", "img2img · image 1 · finished", 1)
    assert [tile.picture for tile in tiles.tiles] == [None, None]
    tiles.follow(in_work((1, 0.1), run_id="another"))
    assert shown(tiles) == [(1, 0.1)]


@pytest.mark.parametrize(
    ("count", "room", "columns"),
    [(1, (500, 400), 1), (3, (900, 300), 3), (3, (300, 900), 1), (4, (400, 400), 2), (8, (800, 400), 4)],
)
def test_places_are_as_large_as_they_can_be(count, room, columns):
    assert columns_for(count, *room) == columns


def test_a_terminal_has_a_row_for_each_where_there_are_several():
    view = ConsoleView(Console(width=100, color_system=None), live=False)

    def lines(status):
        return view.block(status).renderables[0].plain.splitlines()

    assert len(lines(in_work((1, 0.25)))) == 2
    rows = lines(in_work((1, 0.25), (2, 0.5)))
    assert len(rows) == 4
    assert [(row.split()[1], row[row.index(" %") - 2 :][:4]) for row in rows[1:3]] == [("1", "25 %"), ("2", "50 %")]
    assert len(lines(replace(in_work(), state="completed"))) == 2


def follows(pane, controller, turn, caption):
    """What Tk and Qt have in common: two side by side, then one of them finished."""
    pane.attach(controller)
    controller.tell(in_work((2, 0.4), (3, 0.1)))
    controller.preview(picture(400, 400), image_index=2)
    controller.preview(picture(400, 400), image_index=3)
    turn()
    assert pane.texts == (("img2img · image 2", 0.4), ("img2img · image 3", 0.1))
    assert caption() == "2 images in work"
    assert 100 < pane.shown_size[0] <= 250, "two stand in 520 pixels"
    controller.tell(in_work((3, 0.5)))
    turn()
    assert pane.texts == (("img2img · image 2", None), ("img2img · image 3", 0.5))
    assert caption() == "1 image in work"


def test_a_tk_pane_shows_them_side_by_side(root, controller):
    from rxpipe.views.tk import PreviewPane  # noqa: PLC0415  # needs Tk, which the other tests do without

    root.geometry("520x320+0+0")
    pane = PreviewPane(root)
    pane.pack(fill="both", expand=True)
    root.update()
    follows(pane, controller, root.update, lambda: pane.caption["text"])
    assert pane.holds(2)
    assert not pane.holds(7)


def test_a_qt_pane_shows_them_side_by_side(qt_app, controller):
    from rxpipe.views.qt import PreviewPane  # noqa: PLC0415  # needs Qt

    pane = PreviewPane()
    pane.resize(520, 320)
    pane.show()
    follows(pane, controller, qt_app.processEvents, lambda: pane.caption)
    pane.close()
