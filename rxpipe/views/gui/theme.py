"""Two ttk themes, dark and light, drawn at the screen's scale; colours of the views plus what a form needs.

Rounded shapes are small pictures that Tk stretches in nine parts, so that they stay sharp at any scale.
"""

from __future__ import annotations

import tkinter as tk
from dataclasses import dataclass
from tkinter import font as tkfont
from tkinter import ttk
from typing import Any

from PIL import Image, ImageDraw, ImageTk

from rxpipe.views.palette import DARK, LIGHT, Palette

_SAMPLES = 4  # per pixel and direction, for smooth edges
_CLEAR = (0, 0, 0, 0)
_TEXT_PT = 10
_FONTS: dict[str, dict[str, Any]] = {
    "RxBold": {"weight": "bold"},
    "RxTitle": {"weight": "bold", "size": 13},
    "RxSmall": {"size": 9},
}


@dataclass(frozen=True, slots=True)
class Skin:
    """The colours of a theme, "#rrggbb".

    palette: of the views. ground: behind the cards. card, field: raised and sunk surfaces. border, hover, pressed:
    of fields and buttons. accent and the like: of what is to be pressed first. on_accent: text on it.
    """

    name: str
    palette: Palette
    ground: str
    card: str
    field: str
    border: str
    button: str
    hover: str
    pressed: str
    accent: str
    accent_hover: str
    on_accent: str
    selection: str


DARK_SKIN = Skin(
    name="rxpipe-dark",
    palette=DARK,
    ground="#15171c",
    card="#1f2228",
    field="#171a1f",
    border="#3a3f49",
    button="#2c3038",
    hover="#363b45",
    pressed="#262a31",
    accent="#4f86f0",
    accent_hover="#6697f7",
    on_accent="#ffffff",
    selection="#31507f",
)
LIGHT_SKIN = Skin(
    name="rxpipe-light",
    palette=LIGHT,
    ground="#eceef2",
    card="#ffffff",
    field="#f6f7f9",
    border="#cfd4dc",
    button="#ffffff",
    hover="#f3f5f8",
    pressed="#dde2ea",
    accent="#2f6fde",
    accent_hover="#4480ea",
    on_accent="#ffffff",
    selection="#bcd3f8",
)


class Theme:
    """The two themes of one root window. Keep it: Tk forgets pictures that Python has let go.

    scale: pixels per pixel of a screen with 96 dots per inch. skin: of the theme in use.
    """

    def __init__(self, root: tk.Misc, *, scale: float | None = None) -> None:
        self.root = root
        self.style = ttk.Style(root)
        if scale is not None:
            root.tk.call("tk", "scaling", scale * 96 / 72)
        self.scale = max(0.8, float(root.tk.call("tk", "scaling")) * 72 / 96)
        self.skin = DARK_SKIN
        self._pictures: list[ImageTk.PhotoImage] = []
        self._set_fonts()
        for skin in (LIGHT_SKIN, DARK_SKIN):
            self._make(skin)

    def use(self, *, dark: bool) -> None:
        """Change to a theme; every widget hears of it through <<ThemeChanged>>."""
        self.skin = DARK_SKIN if dark else LIGHT_SKIN
        self.style.theme_use(self.skin.name)
        skin, palette = self.skin, self.skin.palette
        self.root.configure(background=skin.ground)  # type: ignore[call-arg]  # a Tk or Toplevel
        for name, value in (
            ("*TCombobox*Listbox.background", skin.field),
            ("*TCombobox*Listbox.foreground", palette.text),
            ("*TCombobox*Listbox.selectBackground", skin.accent),
            ("*TCombobox*Listbox.selectForeground", skin.on_accent),
            ("*TCombobox*Listbox.borderWidth", 0),
            ("*Menu.background", skin.card),
            ("*Menu.foreground", palette.text),
            ("*Menu.activeBackground", skin.accent),
            ("*Menu.activeForeground", skin.on_accent),
            ("*Menu.relief", "flat"),
        ):
            self.root.option_add(name, value)

    def close(self) -> None:
        """Free the pictures; called when the window closes."""
        self._pictures.clear()

    def px(self, pixels: float) -> int:
        """That many pixels of a 96 dpi screen on this one."""
        return max(1, round(pixels * self.scale))

    def _set_fonts(self) -> None:
        families = set(tkfont.families(self.root))
        wanted = ("Segoe UI", "SF Pro Text", "Inter", "Noto Sans", "Cantarell", "Ubuntu", "DejaVu Sans")
        family = next((name for name in wanted if name in families), None)
        font: Any
        for font in (tkfont.nametofont(name, root=self.root) for name in ("TkDefaultFont", "TkTextFont", "TkMenuFont")):
            font.configure(size=_TEXT_PT, **({"family": family} if family else {}))
        default: dict[str, Any] = dict(tkfont.nametofont("TkDefaultFont", root=self.root).actual())
        for name, changes in _FONTS.items():
            made = tkfont.Font(self.root, name=name, exists=False, **{**default, **changes})
            made.delete_font = False  # Tk's to keep, for as long as the window is there

    # -- pictures -----------------------------------------------------------------------------------------------------

    def _keep(self, picture: Image.Image) -> ImageTk.PhotoImage:
        photo = ImageTk.PhotoImage(picture, master=self.root)
        self._pictures.append(photo)
        return photo

    def _box(
        self, fill: str, border: str | None = None, *, radius: float = 6, width: float = 1, middle: int = 48
    ) -> ImageTk.PhotoImage:
        """A rounded box that can be stretched. Tk repeats its *middle* as tiles, a slow thing if those are small."""
        radius_px, width_px = self.px(radius), self.px(width)
        side = 2 * (radius_px + width_px) + middle
        picture = _rounded((side, side), radius_px, border or fill)
        if border is not None:
            inner = (side - 2 * width_px, side - 2 * width_px)
            inside = _rounded(inner, max(0, radius_px - width_px), fill)
            picture.alpha_composite(inside, (width_px, width_px))
        return self._keep(picture)

    def _edge(self, radius: float = 6, width: float = 1) -> int:
        return self.px(radius) + self.px(width)

    def _switch(self, track: str, knob: str, *, on: bool) -> ImageTk.PhotoImage:
        width, height, gap = self.px(34), self.px(19), self.px(3)
        picture = Image.new("RGBA", (width + self.px(8), height), _CLEAR)
        picture.alpha_composite(_rounded((width, height), height // 2, track))
        size = height - 2 * gap
        picture.alpha_composite(_rounded((size, size), size // 2, knob), (width - gap - size if on else gap, gap))
        return self._keep(picture)

    def _chevron(self, colour: str, *, up: bool = False) -> ImageTk.PhotoImage:
        k, width, height = _SAMPLES, self.px(9), self.px(5)
        pad = self.px(5)
        mask = Image.new("L", ((width + 2 * pad) * k, (height + self.px(4)) * k))
        top, bottom = self.px(2) * k, (self.px(2) + height) * k
        ends, tip = (bottom, top) if up else (top, bottom)
        points = [(pad * k, ends), ((pad + width / 2) * k, tip), ((pad + width) * k, ends)]
        ImageDraw.Draw(mask).line(points, fill=255, width=round(1.5 * self.scale * k), joint="curve")
        mask = mask.resize((mask.width // k, mask.height // k), Image.Resampling.BOX)
        picture = Image.new("RGBA", mask.size, colour)
        picture.putalpha(mask)
        return self._keep(picture)

    def _knob(self, fill: str, border: str) -> ImageTk.PhotoImage:
        size = self.px(15)
        picture = _rounded((size, size), size // 2, border)
        inner = size - 2 * self.px(3)
        picture.alpha_composite(_rounded((inner, inner), inner // 2, fill), (self.px(3), self.px(3)))
        return self._keep(picture)

    # -- styles -------------------------------------------------------------------------------------------------------

    def _make(self, skin: Skin) -> None:
        self.style.theme_create(skin.name, parent="clam")
        self.style.theme_use(skin.name)
        palette = skin.palette
        self.style.configure(
            ".",
            background=skin.ground,
            foreground=palette.text,
            font="TkDefaultFont",
            focuscolor=skin.accent,
            troughcolor=skin.ground,
            borderwidth=0,
            selectbackground=skin.selection,
            selectforeground=palette.text,
            insertcolor=palette.text,
        )
        self.style.map(".", foreground=[("disabled", palette.quiet)])
        self._make_surfaces(skin)
        self._make_labels(skin)
        self._make_buttons(skin)
        self._make_fields(skin)
        self._make_switch(skin)
        self._make_slider(skin)
        self._make_scrollbar(skin)

    def _make_surfaces(self, skin: Skin) -> None:
        edge = self._edge(9)
        self._element("Card.background", self._box(skin.card, radius=9, middle=300), border=edge)
        self._layout("Card.TFrame", ("Card.background", {"sticky": "nsew"}))
        self.style.configure("Card.TFrame", background=skin.ground)  # seen in the corners only
        self.style.configure("Inner.TFrame", background=skin.card)
        normal, focus = self._box(skin.field, skin.border), self._box(skin.field, skin.accent)
        bad = self._box(skin.field, skin.palette.bad)
        self._element("Sunk.background", normal, ("invalid", bad), ("focus", focus), border=self._edge())
        self._layout("Sunk.TFrame", ("Sunk.background", {"sticky": "nsew"}))
        self.style.configure("Sunk.TFrame", background=skin.card)
        self.style.configure("TPanedwindow", background=skin.ground)
        self.style.configure("Sash", sashthickness=self.px(10), gripcount=0, background=skin.ground)
        self.style.configure("Sash", lightcolor=skin.ground, bordercolor=skin.ground)

    def _make_labels(self, skin: Skin) -> None:
        palette = skin.palette
        for prefix, ground in (("", skin.ground), ("Card.", skin.card)):
            self.style.configure(f"{prefix}TLabel", background=ground)
            self.style.configure(f"{prefix}Muted.TLabel", background=ground, foreground=palette.muted)
            self.style.configure(f"{prefix}Bold.TLabel", background=ground, font="RxBold")
            self.style.configure(f"{prefix}Small.TLabel", background=ground, foreground=palette.muted, font="RxSmall")
            self.style.configure(f"{prefix}Bad.TLabel", background=ground, foreground=palette.bad)
        self.style.configure("Title.TLabel", font="RxTitle")

    def _make_buttons(self, skin: Skin) -> None:
        text = skin.palette.text
        self._button("TButton", skin, (skin.button, skin.hover, skin.pressed), text, skin.border)
        self._button("Accent.TButton", skin, (skin.accent, skin.accent_hover, skin.accent), skin.on_accent, skin.accent)
        self._button("Card.TButton", skin, (skin.button, skin.hover, skin.pressed), text, skin.border)
        self._button("Ghost.TButton", skin, (skin.ground, skin.hover, skin.pressed), text, skin.ground)
        self._button("Card.Ghost.TButton", skin, (skin.card, skin.hover, skin.pressed), skin.palette.muted, skin.card)
        self._button("Card.Tab.TButton", skin, (skin.card, skin.hover, skin.pressed), skin.palette.muted, skin.card)
        self._button("Card.Chosen.Tab.TButton", skin, (skin.pressed, skin.hover, skin.pressed), text, skin.pressed)
        for style in ("Card.Tab.TButton", "Card.Chosen.Tab.TButton"):
            self.style.configure(style, padding=(self.px(9), self.px(2)))
        self.style.configure("Accent.TButton", font="RxBold", padding=(self.px(12), self.px(7)))
        self.style.configure("Card.Ghost.TButton", padding=(self.px(5), self.px(1)))

    def _button(self, style: str, skin: Skin, faces: tuple[str, str, str], text: str, line: str) -> None:
        """A button with its faces at rest, under the pointer and pressed, and a line around it."""
        normal, hover, pressed = faces
        ground = skin.card if style.startswith("Card.") else skin.ground
        element = f"{style}.face"
        self._element(
            element,
            self._box(normal, line),
            ("disabled", self._box(ground, ground if "Ghost" in style else skin.border)),
            ("pressed", self._box(pressed, line)),
            ("focus", self._box(hover if "Ghost" in style else normal, skin.palette.busy)),
            ("active", self._box(hover, line)),
            border=self._edge(),
        )
        inner = ("Button.padding", {"sticky": "nsew", "children": [("Button.label", {"sticky": "nsew"})]})
        self._layout(style, (element, {"sticky": "nsew", "children": [inner]}))
        self.style.configure(
            style,
            background=ground,
            foreground=text,
            anchor="center",
            width=0,
            padding=(self.px(12), self.px(5)),
            font="TkDefaultFont",
        )
        self.style.map(style, foreground=[("disabled", skin.palette.quiet)], background=[])

    def _make_fields(self, skin: Skin) -> None:
        normal, focus = self._box(skin.field, skin.border), self._box(skin.field, skin.accent)
        off = self._box(skin.card, skin.border)
        bad = self._box(skin.field, skin.palette.bad)
        states = (("invalid", bad), ("disabled", off), ("focus", focus))
        self._element("Rx.field", normal, *states, border=self._edge())
        down, up = self._chevron(skin.palette.muted), self._chevron(skin.palette.muted, up=True)
        self._element("Rx.down", down, sticky="")
        self._element("Rx.up", up, sticky="")
        text = ("padding", {"expand": "1", "sticky": "nsew"})
        self._layout("TEntry", ("Rx.field", _around(text, "Entry.textarea")))
        arrow = ("Rx.down", {"side": "right", "sticky": "ns"})
        arrows = (
            "null",
            {
                "side": "right",
                "sticky": "",
                "children": [
                    ("Spinbox.uparrow", {"side": "top", "sticky": "e"}),
                    ("Spinbox.downarrow", {"side": "bottom", "sticky": "e"}),
                ],
            },
        )
        self._element("Spinbox.uparrow", up, sticky="")
        self._element("Spinbox.downarrow", down, sticky="")
        self._element("Combobox.downarrow", down, sticky="")
        arrow = ("Combobox.downarrow", {"side": "right", "sticky": "ns"})
        self._layout("TCombobox", ("Rx.field", _around(text, "Combobox.textarea", arrow)))
        self._layout("TSpinbox", ("Rx.field", _around(text, "Spinbox.textarea", arrows)))
        for style in ("TEntry", "TCombobox", "TSpinbox"):
            self.style.configure(
                style, fieldbackground=skin.field, foreground=skin.palette.text, padding=(self.px(7), self.px(3))
            )
            self.style.configure(style, background=skin.card)  # seen in the corners only
            self.style.map(style, fieldbackground=[], background=[], foreground=[("disabled", skin.palette.quiet)])
        self.style.configure("Top.TCombobox", background=skin.ground)

    def _make_switch(self, skin: Skin) -> None:
        quiet = skin.palette.track
        self._element(
            "Switch.indicator",
            self._switch(quiet, skin.card, on=False),
            (("disabled", "selected"), self._switch(quiet, skin.palette.quiet, on=True)),
            ("disabled", self._switch(quiet, skin.palette.quiet, on=False)),
            (("focus", "selected"), self._switch(skin.accent_hover, "#ffffff", on=True)),
            ("selected", self._switch(skin.accent, "#ffffff", on=True)),
            ("focus", self._switch(skin.palette.quiet, skin.card, on=False)),
            sticky="w",
        )
        row = [("Switch.indicator", {"side": "left", "sticky": ""}), ("Checkbutton.label", {"side": "left"})]
        for prefix, ground in (("", skin.ground), ("Card.", skin.card)):
            style = f"{prefix}Switch.TCheckbutton"
            self._layout(style, ("Checkbutton.padding", {"sticky": "nsew", "children": row}))
            self.style.configure(style, background=ground, font="RxBold" if prefix else "TkDefaultFont")
            self.style.map(style, background=[])
        style = "Card.Small.Switch.TCheckbutton"
        self._layout(style, ("Checkbutton.padding", {"sticky": "nsew", "children": row}))
        self.style.configure(style, background=skin.card, foreground=skin.palette.muted, font="RxSmall")
        self.style.map(style, background=[])

    def _make_slider(self, skin: Skin) -> None:
        rail = _rounded((self.px(12), self.px(15)), 0, skin.card)
        line = _rounded((self.px(12), self.px(4)), self.px(2), skin.palette.track)
        rail.alpha_composite(line, (0, (self.px(15) - self.px(4)) // 2))
        self._element("Horizontal.Scale.trough", self._keep(rail), border=(self.px(4), 0), sticky="ew")
        self._element(
            "Horizontal.Scale.slider",
            self._knob("#ffffff", skin.accent),
            ("disabled", self._knob(skin.card, skin.palette.quiet)),
            ("active", self._knob("#ffffff", skin.accent_hover)),
            ("focus", self._knob("#ffffff", skin.accent_hover)),
            sticky="",
        )
        knob = ("Horizontal.Scale.slider", {"side": "left", "sticky": ""})
        self._layout("Horizontal.TScale", ("Horizontal.Scale.trough", {"sticky": "ew", "children": [knob]}))
        self.style.configure("Horizontal.TScale", background=skin.card)

    def _make_scrollbar(self, skin: Skin) -> None:
        for prefix, ground in (("", skin.ground), ("Card.", skin.card)):
            thumb = self._box(skin.palette.track, ground, radius=5, width=2)
            active = self._box(skin.palette.quiet, ground, radius=5, width=2)
            element = f"{prefix}Rx.thumb"
            self._element(element, thumb, ("active", active), border=self._edge(5, 2), width=self.px(12), sticky="ns")
            style = f"{prefix}Vertical.TScrollbar"
            trough = (
                "Vertical.Scrollbar.trough",
                {"sticky": "ns", "children": [(element, {"expand": "1", "sticky": "nsew"})]},
            )
            self._layout(style, trough)
            self.style.configure(style, troughcolor=ground, background=ground, bordercolor=ground, width=self.px(12))
            self.style.configure(style, lightcolor=ground, darkcolor=ground)

    def _layout(self, style: str, *tree: tuple[str, Any]) -> None:
        """What a style is made of: elements by name, each with where it sticks and what is inside it."""
        self.style.layout(style, list(tree))

    def _element(self, name: str, picture: ImageTk.PhotoImage, *states: tuple[Any, Any], **options: Any) -> None:
        """An element drawn with pictures; no higher or wider than its corners unless more is requested."""
        if "border" in options:
            least = 2 * options["border"] if isinstance(options["border"], int) else self.px(8)
            options = {"width": least, "height": least, "padding": self.px(2), **options}
        flat = [(*((state,) if isinstance(state, str) else state), str(other)) for state, other in states]
        self.style.element_create(name, "image", str(picture), *flat, **options)


def _around(padding: tuple[str, dict[str, Any]], text: str, *sides: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    name, options = padding
    inner = (f"Entry.{name}", {**options, "children": [(text, {"sticky": "nsew"})]})
    return {"sticky": "nsew", "children": [*sides, inner]}


def _rounded(size: tuple[int, int], radius: int, colour: str) -> Image.Image:
    """Return a box with smooth round corners."""
    k = _SAMPLES
    mask = Image.new("L", (size[0] * k, size[1] * k))
    box = (0, 0, size[0] * k - 1, size[1] * k - 1)
    ImageDraw.Draw(mask).rounded_rectangle(box, radius * k, fill=255)
    picture = Image.new("RGBA", size, colour)
    picture.putalpha(mask.resize(size, Image.Resampling.BOX))
    return picture
