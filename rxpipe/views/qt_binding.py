"""The Qt binding of the views: the one that the program uses already, else PySide6, else PyQt6.

A process can use one of them only; its widgets are no widgets for the other.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from rxpipe.errors import missing

__all__ = [
    "BINDING",
    "QColor",
    "QEvent",
    "QFontMetrics",
    "QHBoxLayout",
    "QImage",
    "QKeyEvent",
    "QLabel",
    "QPaintEvent",
    "QPainter",
    "QPen",
    "QPushButton",
    "QRectF",
    "QResizeEvent",
    "QSize",
    "QSizePolicy",
    "QTextOption",
    "QWidget",
    "Qt",
]

_BINDINGS = ("PySide6", "PyQt6")


def _binding() -> str:
    """Return the name of the binding to use, imported.

    Raises:
        MissingPackage: neither is installed.
    """
    used = [name for name in _BINDINGS if f"{name}.QtCore" in sys.modules]
    for name in used or _BINDINGS:
        try:
            importlib.import_module(f"{name}.QtWidgets")
        except ModuleNotFoundError:
            continue
        return name
    raise missing("rxpipe.views.qt", "PySide6")


def _of(module: str, *names: str) -> tuple[Any, ...]:
    imported = importlib.import_module(f"{BINDING}.{module}")
    return tuple(getattr(imported, name) for name in names)


BINDING = _binding()
"""The name of the binding in use."""

if TYPE_CHECKING:
    from PySide6.QtCore import QEvent, QRectF, QSize, Qt
    from PySide6.QtGui import (
        QColor,
        QFontMetrics,
        QImage,
        QKeyEvent,
        QPainter,
        QPaintEvent,
        QPen,
        QResizeEvent,
        QTextOption,
    )
    from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSizePolicy, QWidget
else:
    QEvent, QRectF, QSize, Qt = _of("QtCore", "QEvent", "QRectF", "QSize", "Qt")
    QColor, QFontMetrics, QImage, QKeyEvent, QPainter, QPaintEvent, QPen, QResizeEvent, QTextOption = _of(
        "QtGui",
        *("QColor", "QFontMetrics", "QImage", "QKeyEvent", "QPainter"),
        *("QPaintEvent", "QPen", "QResizeEvent", "QTextOption"),
    )
    QHBoxLayout, QLabel, QPushButton, QSizePolicy, QWidget = _of(
        "QtWidgets", "QHBoxLayout", "QLabel", "QPushButton", "QSizePolicy", "QWidget"
    )
