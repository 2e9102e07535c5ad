"""The images that are being worked on at the same time: which place each has in a view, and how places are laid out.

Pure; a view calls it on its own thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.status import RunStatus

Picture = TypeVar("Picture")

_IDLE = frozenset({"queued", "loading"})


@dataclass(frozen=True, slots=True)
class InWork:
    """One image that is being worked on. image_number: 1.., among those of the run. fraction: 0..1 of its stage."""

    stage: str
    image_number: int
    fraction: float

    @property
    def caption(self) -> str:
        """The image in words, such as "upscale · image 3"."""
        return image_caption(self.stage, self.image_number)


@dataclass(slots=True)
class Tile(Generic[Picture]):
    """One place of a view.

    image_number: of the image it shows, None if that is not known. fraction: how far its stage is, 0..1; None once
    nothing is being done to it. picture: the latest of it, None before there is one. left: the larger, the later it was
    last worked on. of_another: the picture is still that of the image before.
    """

    image_number: int | None = None
    caption: str = ""
    fraction: float | None = None
    picture: Picture | None = None
    left: int = 0
    of_another: bool = False


class Tiles(Generic[Picture]):
    """The places of a view: as many as there were images in work at the same time in this run, at least one.

    An image keeps its place from stage to stage, and has it until another image needs it. So nothing moves while images
    come and go, and what was finished last is seen the longest. A view of one place is that of a run with one image at
    a time: the latest picture stands there.

    tiles: never empty.
    """

    def __init__(self) -> None:
        self.tiles: list[Tile[Picture]] = [Tile()]
        self._run_id: str | None = None
        self._clock = 0

    def __len__(self) -> int:
        return len(self.tiles)

    @property
    def caption(self) -> str:
        """The line below all places: that of the only one, else how many images are in work."""
        return self._count_caption() if len(self) > 1 else self.tiles[0].caption or "No preview yet"

    @property
    def texts(self) -> tuple[tuple[str, float | None], ...]:
        """Line and fraction (None: no bar) of each place, from left to right and from top to bottom."""
        return tuple((tile.caption, tile.fraction) for tile in self.tiles)

    def clear(self) -> None:
        """Show one empty place."""
        self.tiles = [Tile()]

    def follow(self, status: RunStatus) -> bool:
        """Give every image in work a place, and return whether `texts` changed.

        A new run begins with one place, which keeps its picture.
        """
        before = self.texts
        if status.active and status.run_id != self._run_id:
            self._run_id = status.run_id
            self.tiles = [Tile(picture=self.tiles[0].picture, caption=self.tiles[0].caption)]
        now: dict[int | None, InWork] = {work.image_number: work for work in in_work(status)}
        for tile in self.tiles:
            tile.fraction = now[tile.image_number].fraction if tile.image_number in now else None
        for work in now.values():
            self._place(work)
        if len(self.tiles) > 1:  # else the last picture stands, with its caption, until there is another
            self._name(now)
        return self.texts != before

    def put(self, picture: Picture | None, caption: str, image_number: int | None = None) -> None:
        """Show a picture in the place of its image, or in the only one; left out if its place has gone to another.

        Args:
            picture: None where it cannot be read: the last one stays, and the caption says so.
            caption: the text below.
            image_number: whose picture it is; None: not known.
        """
        tile = self.tiles[0] if len(self.tiles) == 1 else self._of(image_number)
        if tile is not None:
            tile.picture = picture or tile.picture
            tile.caption = caption if picture is not None else f"{caption} · this preview cannot be read"
            tile.image_number, tile.of_another = image_number, False

    def _place(self, work: InWork) -> None:
        tile = self._of(work.image_number)
        if tile is None:
            tile = min((tile for tile in self.tiles if tile.fraction is None), key=lambda tile: tile.left, default=None)
        if tile is None:
            tile = Tile()
            self.tiles.append(tile)
        tile.of_another = tile.of_another or tile.image_number != work.image_number
        tile.image_number, tile.fraction = work.image_number, work.fraction
        self._clock += 1
        tile.left = self._clock

    def _name(self, now: Mapping[int | None, InWork]) -> None:
        for tile in self.tiles:
            if tile.of_another:
                tile.picture, tile.of_another = None, False
            if tile.image_number in now:
                tile.caption = now[tile.image_number].caption

    def _count_caption(self) -> str:
        count = sum(tile.fraction is not None for tile in self.tiles)
        return f"{count} image{'' if count == 1 else 's'} in work" if count else ""

    def _of(self, image_number: int | None) -> Tile[Picture] | None:
        return next((tile for tile in self.tiles if tile.image_number == image_number), None)


def in_work(status: RunStatus) -> tuple[InWork, ...]:
    """Return the images that are being worked on, in their order; not those that wait in a queue or for a model."""
    if not status.active:
        return ()
    works = {
        image.number or index: InWork(stage.name, image.number or index, image.fraction)
        for stage in status.stages
        if stage.state == "running"
        for index, image in stage.in_progress.items()
        if image.phase not in _IDLE
    }
    return tuple(works[number] for number in sorted(works))


def image_caption(stage: str, image_number: int) -> str:
    """Return an image in words, such as "upscale · image 3"."""
    return f"{stage} · image {image_number}"


def columns_for(count: int, width: float, height: float) -> int:
    """Return how many columns make *count* squares the largest in a room of *width* x *height*, in one unit; >= 1."""
    return max(range(1, count + 1), key=lambda columns: min(width / columns, height / -(-count // columns)))
