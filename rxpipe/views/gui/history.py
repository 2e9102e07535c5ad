"""Earlier runs, read from the store off the window's thread: pictures by page, an image's stages, marks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from rxpipe.errors import RxPipeError
from rxpipe.rx.worker import WorkerScheduler
from rxpipe.views.gui.gallery import GalleryItem

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reactivex import abc

    from rxpipe.store.reading import Store
    from rxpipe.store.records import CellRecord, RunSummary

PAGE = 60
_FLUSH_S = 5.0
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Page:
    """Some pictures of earlier runs, the newest first. before: where the next page begins, None after the last one."""

    pictures: tuple[GalleryItem, ...]
    before: int | None


class History:
    """Asks the store on one thread and answers on the window's.

    Args:
        store: of the user; None where the history is off, and then there is nothing.
        scheduler: of the window.
        failed: called with what cannot be read or written.
    """

    def __init__(self, store: Store | None, scheduler: abc.SchedulerBase, *, failed: Callable[[str], object]) -> None:
        self._store, self._scheduler, self._failed = store, scheduler, failed
        self._worker = WorkerScheduler("rxpipe-history")

    @property
    def there(self) -> bool:
        """Whether runs are recorded."""
        return self._store is not None

    def page(
        self, then: Callable[[Page], object], *, search: str = "", favourite: bool = False, before: int | None = None
    ) -> None:
        """Call *then* with pictures of images that have a file, the one recorded last first."""

        def ask(store: Store) -> Page:
            cells = store.pictures(limit=PAGE, before=before, favourite=True if favourite else None, search=search)
            pictures = tuple(_item(cell) for cell in cells if cell.path is not None)
            return Page(pictures, cells[-1].number if len(cells) == PAGE else None)

        self._ask(ask, then)

    def unfinished(self, then: Callable[[RunSummary | None], object]) -> None:
        """Call *then* with the last run that can be resumed, None if there is none."""
        self._ask(lambda store: store.latest(unfinished=True), then)

    def mark(self, picture: GalleryItem, *, favourite: bool | None = None, trashed: bool | None = None) -> None:
        """Remember what a person says of an image."""
        if picture.run_id:
            self._ask(
                lambda store: store.mark(picture.run_id, picture.key, favourite=favourite, trashed=trashed),
                lambda _: None,
            )

    def files(self, picture: GalleryItem) -> tuple[tuple[str, Path], ...]:
        """Return the files that the image had after each stage, oldest first; blocking. None without a store."""
        if self._store is None or not picture.run_id:
            return ()
        try:
            cells = self._store.cells(picture.run_id, artifact_id=picture.key, skip_damaged=True)
        except RxPipeError:
            return ()
        return tuple((cell.stage_type, cell.path) for cell in cells if cell.path is not None)

    def close(self) -> None:
        """Answer nothing more."""
        self._worker.close()

    def _ask(self, question: Callable[[Store], _T], then: Callable[[_T], object]) -> None:
        store = self._store
        if store is None:
            return

        def work(*_: object) -> None:
            try:
                store.flush(_FLUSH_S)  # what a run that has just ended wrote is part of the answer
                answer = question(store)
            except RxPipeError as error:
                text = str(error)
                self._scheduler.schedule(lambda *_: _ignored(self._failed(text)))
            else:
                self._scheduler.schedule(lambda *_: _ignored(then(answer)))

        self._worker.schedule(work)


def _item(cell: CellRecord) -> GalleryItem:
    if cell.path is None:
        raise ValueError("a picture without a file")
    return GalleryItem(
        cell.artifact_id, cell.path, cell.seed, cell.stage_type, run_id=cell.run_id, favourite=cell.favourite
    )


def _ignored(_: object) -> None:
    """Drop what a callback returns; a scheduler would read it as a disposable."""
