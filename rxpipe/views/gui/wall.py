"""The wall: pictures of this session and those of earlier runs, with search, favourites and a size to choose."""

from __future__ import annotations

import tkinter as tk
from dataclasses import replace
from tkinter import ttk
from typing import TYPE_CHECKING

from rxpipe.errors import RxPipeError
from rxpipe.views.gui.fields import Switch, TextField
from rxpipe.views.gui.gallery import LEAST_PX, MOST_PX, Gallery, GalleryItem
from rxpipe.views.gui.trash import to_trash
from rxpipe.views.gui.widgets import Tooltip

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rxpipe.store.records import RunSummary
    from rxpipe.views.gui.gallery import PictureLoader
    from rxpipe.views.gui.history import History, Page
    from rxpipe.views.gui.theme import Theme

_TYPING_MS = 250
_TAB, _CHOSEN = "Card.Tab.TButton", "Card.Chosen.Tab.TButton"
_SESSION, _EARLIER = "session", "earlier"


class Wall(ttk.Frame):
    """Two galleries in one place, and above them what chooses between them.

    session: what was drawn since the window was opened. earlier: what the store knows.

    Args:
        loader: decodes the pictures of the session. earlier_loader: those of earlier runs, which may be many.
        opened: called with a gallery and the index of a picture in it.
        actions: what can be done with a picture, by name.
        resume: called with the run that is to be resumed.
        say: shows a message.
    """

    def __init__(
        self,
        master: tk.Misc,
        theme: Theme,
        *,
        loader: PictureLoader,
        earlier_loader: PictureLoader,
        history: History,
        opened: Callable[[Gallery, int], object],
        actions: Mapping[str, Callable[[GalleryItem], object]],
        resume: Callable[[RunSummary], object],
        say: Callable[[str], object],
    ) -> None:
        px = theme.px
        super().__init__(master, style="Card.TFrame", padding=(px(8), px(6), px(4), px(4)))
        self._history, self._actions, self._say, self._resume = history, actions, say, resume
        self._theme, self._opened = theme, opened
        self._before: int | None = None
        self._asking = 0
        self._typing: str | None = None
        self._unfinished: RunSummary | None = None
        self._build_head()
        self.session = Gallery(
            self, theme, loader,
            opened=lambda index: opened(self.session, index),
            menu=lambda index, x, y: self._menu(self.session, index, x, y),
        )  # fmt: skip
        self.earlier = Gallery(
            self, theme, earlier_loader,
            opened=lambda index: opened(self.earlier, index),
            menu=lambda index, x, y: self._menu(self.earlier, index, x, y),
            empty="No picture of an earlier run is like that." if history.there else "The history of runs is off.",
            at_end=self._next_page,
        )  # fmt: skip
        self.show(_SESSION)

    @property
    def shown(self) -> str:
        """Which of the two is to be seen: "session" or "earlier"."""
        return self._shown

    def show(self, which: str) -> None:
        """Show one of the two galleries."""
        self._shown = which
        for name, button, gallery in (
            (_SESSION, self.session_tab, self.session),
            (_EARLIER, self.earlier_tab, self.earlier),
        ):
            button.configure(style=_CHOSEN if name == which else _TAB)
            if name == which:
                gallery.pack(fill="both", expand=True)
            else:
                gallery.pack_forget()
        if which == _EARLIER:
            self.refresh()

    def refresh(self) -> None:
        """Ask for the pictures of earlier runs anew, and for a run that can be resumed."""
        self._asking += 1
        asking = self._asking
        if self._shown == _EARLIER:
            self._history.page(
                lambda page: self._show_page(page, asking, keep=False),
                search=self.search.read(),
                favourite=self.favourites.on,
            )
        self._history.unfinished(self._show_unfinished)

    def toggle_favourite(self, gallery: Gallery, index: int) -> None:
        """Mark a picture as a favourite, or take the mark away."""
        picture = replace(gallery.pictures[index], favourite=not gallery.pictures[index].favourite)
        gallery.put(index, picture)
        self._history.mark(picture, favourite=picture.favourite)

    def delete(self, gallery: Gallery, index: int) -> None:
        """Move a picture's file to the trash and take it from the wall."""
        picture = gallery.pictures[index]
        try:
            where = to_trash(picture.path)
        except RxPipeError as error:
            self._say(str(error))
            return
        gallery.put(index, None)
        self._history.mark(picture, trashed=True)
        self._say(f"{picture.path.name} is in the trash: {where}")

    def clear(self) -> None:
        """Free all pictures."""
        self.session.clear()
        self.earlier.clear()

    def destroy(self) -> None:
        """End."""
        if self._typing is not None:
            self.after_cancel(self._typing)
            self._typing = None
        super().destroy()

    def _build_head(self) -> None:
        px = self._theme.px
        head = ttk.Frame(self, style="Inner.TFrame")
        head.pack(fill="x", pady=(0, px(4)))
        self.session_tab = ttk.Button(head, text="Session", style=_TAB, command=lambda: self.show(_SESSION))
        self.earlier_tab = ttk.Button(head, text="Earlier", style=_TAB, command=lambda: self.show(_EARLIER))
        self.session_tab.pack(side="left")
        self.earlier_tab.pack(side="left", padx=(px(4), px(10)))
        ttk.Label(head, text="Find", style="Card.Small.TLabel").pack(side="left", padx=(0, px(6)))
        self.search = TextField(head, width=8)
        self.search.pack(side="left", fill="x", expand=True)
        self.search.bind("<KeyRelease>", lambda _event: self._typed(), add="+")
        self.favourites = Switch(
            head, "★", on=False, changed=lambda _on: self.show(_EARLIER), style="Card.Small.Switch.TCheckbutton"
        )
        self.favourites.pack(side="left", padx=px(10))
        self.resume = ttk.Button(
            head, text="Resume", style="Card.Ghost.TButton", state="disabled", command=self._resume_now
        )
        self.resume.pack(side="left")
        self.thumbnail_size = ttk.Scale(head, from_=LEAST_PX, to=MOST_PX, length=px(72), command=self._sized)
        self.thumbnail_size.pack(side="right", padx=(px(8), px(10)))
        self.thumbnail_size.configure(value=104)
        Tooltip(self.session_tab, "Pictures since the window was opened")
        Tooltip(self.earlier_tab, "Pictures of all runs that are on record")
        Tooltip(self.search, "Words that begin a word of the prompt")
        Tooltip(self.favourites, "Favourites of earlier runs only")
        Tooltip(self.thumbnail_size, "Size of the thumbnails")
        self._resume_tip = Tooltip(self.resume)

    def _sized(self, value: str) -> None:
        for gallery in (self.session, self.earlier):
            gallery.side_px = round(float(value))

    def _typed(self) -> None:
        if self._typing is not None:
            self.after_cancel(self._typing)
        self._typing = self.after(_TYPING_MS, self._search_now)

    def _search_now(self) -> None:
        self._typing = None
        self.show(_EARLIER)

    def _next_page(self) -> None:
        before, self._before = self._before, None
        if before is not None:
            asking = self._asking
            self._history.page(
                lambda page: self._show_page(page, asking, keep=True),
                search=self.search.read(),
                favourite=self.favourites.on,
                before=before,
            )

    def _show_page(self, page: Page, asking: int, *, keep: bool) -> None:
        if asking != self._asking or not self.winfo_exists():
            return  # something else was asked for meanwhile
        self._before = page.before
        self.earlier.show_all([*(self.earlier.pictures if keep else ()), *page.pictures], keep=keep)

    def _show_unfinished(self, run: RunSummary | None) -> None:
        if not self.winfo_exists():
            return
        self._unfinished = run
        self.resume.configure(state="normal" if run is not None else "disabled")
        self._resume_tip.text = (
            f"Continue the run {run.run_id} where it stood: {run.done} of {run.images} images, {run.status}"
            if run is not None
            else "No run was left unfinished"
        )

    def _resume_now(self) -> None:
        if self._unfinished is not None:
            self._resume(self._unfinished)

    def _menu(self, gallery: Gallery, index: int, x: int, y: int) -> None:
        picture = gallery.pictures[index]
        menu = tk.Menu(self, tearoff=False)
        menu.add_command(label="Open", command=lambda: self._opened(gallery, index))
        for name, action in reversed(list(self._actions.items())):
            menu.add_command(label=name, command=lambda action=action: action(picture))  # type: ignore[misc]  # a default binds the loop's value
        menu.add_separator()
        mark = "Remove from favourites" if picture.favourite else "★ Favourite"
        menu.add_command(label=mark, command=lambda: self.toggle_favourite(gallery, index))
        menu.add_command(label="Move to trash", command=lambda: self.delete(gallery, index))
        menu.tk_popup(x, y)
