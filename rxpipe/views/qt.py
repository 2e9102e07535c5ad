"""A run in a Qt window: StatusBar, PreviewPane, StageTimeline; widgets to be put into any layout.

```python
from PySide6.QtWidgets import QApplication

import rxpipe as rxp
from rxpipe.rx.mainloop import QtScheduler
from rxpipe.views.qt import StatusBar

app = QApplication.instance() or QApplication([])
runner = rxp.PipelineRunner(rxp.open_backend())
controller = rxp.PipelineController(runner, scheduler=QtScheduler(app))
bar = StatusBar()  # or in a layout of yours: layout.addWidget(bar)
bar.show()
bar.attach(controller)
controller.start(rxp.chain(rxp.txt2img(prompt="a lighthouse at dusk", images=2), rxp.upscale(scale=2)))
app.exec()
```

The same behaviour as in `rxpipe.views.tk`, over PySide6 or PyQt6: the one that the program has imported. They follow
the palette of the application, light or dark. `notebooks/qt_window.py` is a whole window of them.
Only the GUI thread may call them, which a controller with `scheduler=QtScheduler(app)` sees to.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from reactivex.disposable import CompositeDisposable, SerialDisposable

from rxpipe.pictures.formats import picture_format
from rxpipe.status import RunStatus
from rxpipe.views.in_work import Tile, Tiles, columns_for, image_caption
from rxpipe.views.palette import Palette, Watchable, detail, palette_on, stage_caption, tone_of
from rxpipe.views.qt_binding import (
    QColor,
    QEvent,
    QFontMetrics,
    QHBoxLayout,
    QImage,
    QKeyEvent,
    QLabel,
    QPainter,
    QPaintEvent,
    QPen,
    QPushButton,
    QRectF,
    QResizeEvent,
    QSize,
    QSizePolicy,
    Qt,
    QTextOption,
    QWidget,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from reactivex import abc

    from rxpipe.events import StagePreview
    from rxpipe.status import StageStatus

_GAP, _EDGE, _BAR, _DOT = 10, 6, 160, 9  # device-independent pixels
_ELIDE = Qt.TextElideMode.ElideRight
_USUAL_MESSAGE = "Running adetailer: waiting in the queue"  # the bar asks for room for this
_USUAL_DETAIL = "image 10 of 10 · step 20 of 20"


class _View(QWidget):
    """What the three share: colours of the application, and subscriptions that end with the widget."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._thread = threading.get_ident()
        self._subscription = SerialDisposable()
        self.destroyed.connect(self._subscription.dispose)

    @property
    def colours(self) -> Palette:
        """The colours that can be read on the ground this widget stands on."""
        ground = self.palette().window().color()
        return palette_on(ground.red(), ground.green(), ground.blue())

    def attach(self, source: Watchable) -> None:
        """Show *source* from now on, in place of what was shown before. Ends with the widget, or with `detach`."""
        self._subscription.disposable = CompositeDisposable(*self._watch(source))

    def detach(self) -> None:
        """Follow nothing any more; what is shown stays."""
        self._subscription.disposable = CompositeDisposable()

    def _watch(self, source: Watchable) -> Iterable[abc.DisposableBase]:
        raise NotImplementedError

    def _require_own_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise RuntimeError(
                f"{type(self).__name__} was called on {threading.current_thread().name}, not on the GUI thread. "
                "Give the controller scheduler=QtScheduler(app)."
            )

    def _fail(self, error: Exception) -> None:
        sys.excepthook(type(error), error, error.__traceback__)


class StatusBar(_View):
    """One line: state, where the run is, a bar, percent, time left, and Stop.

    Args:
        parent: as of any widget.
        stop: whether there is a Stop button.
    """

    def __init__(self, parent: QWidget | None = None, *, stop: bool = True) -> None:
        super().__init__(parent)
        self._source: Watchable | None = None
        self.status = RunStatus()
        self._dot = _Dot(self)
        self.message, self.detail = _Line(self, bold=True), _Line(self)
        self.progress = _Bar(self)
        self.percent, self.eta = QLabel(self), QLabel(self)
        self.stop = _StopButton("Stop", self)
        self.stop.setAutoDefault(False)  # in a dialog, Return in some field must not stop the run
        self.stop.clicked.connect(self._stop)
        self.stop.setVisible(stop)
        self._lay_out()
        self._tint()
        self.show_status(self.status)

    def show_status(self, status: RunStatus) -> None:
        """Show *status*; to be subscribed to a controller's `status`."""
        self._require_own_thread()
        self.status = status
        tone = self.colours.of(tone_of(status.state))
        self._dot.set_colour(tone)
        self.progress.set_value(status.fraction, tone)
        self.message.set_text(status.message)
        self.detail.set_text(detail(status))
        self.percent.setText(status.percent_text if status.active or status.fraction > 0 else "")
        self.eta.setText(status.eta_text)
        self.eta.setVisible(status.active)  # its room is the message's, which may be that of an error
        self.stop.setEnabled(status.state == "running" and self._source is not None)

    def detach(self) -> None:
        """Follow nothing any more; what is shown stays, and Stop is off."""
        super().detach()
        self._source = None
        self.stop.setEnabled(False)

    def sizeHint(self) -> QSize:  # noqa: N802  Qt's name
        """Return a size in which the usual messages stand whole."""
        hint = super().sizeHint()
        natural = sum(
            label.fontMetrics().horizontalAdvance(text) - label.sizeHint().width()
            for label, text in ((self.message, _USUAL_MESSAGE), (self.detail, _USUAL_DETAIL))
        )
        eta = 0 if self.status.active else self.eta.width() + _GAP
        return QSize(max(hint.width(), hint.width() + self.detail.sizeHint().width() + natural + eta), hint.height())

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802  Qt's name
        """Follow the application from light to dark."""
        super().changeEvent(event)
        if event.type() in {QEvent.Type.PaletteChange, QEvent.Type.StyleChange} and hasattr(self, "stop"):
            self._tint()
            self.show_status(self.status)

    def _watch(self, source: Watchable) -> Iterable[abc.DisposableBase]:
        self._source = source
        yield source.status.subscribe(on_next=self.show_status, on_error=self._fail)

    def _stop(self) -> None:
        self.stop.setEnabled(False)  # immediately; "Stopping" follows from the source
        if self._source is not None:
            self._source.cancel()

    def _lay_out(self) -> None:
        row = QHBoxLayout(self)
        row.setContentsMargins(_GAP, _EDGE, _GAP, _EDGE)
        row.setSpacing(_GAP)
        row.addWidget(self._dot)
        row.addWidget(self.message)
        row.addWidget(self.detail, 1)
        row.addWidget(self.progress)
        row.addWidget(self.percent)
        row.addWidget(self.eta)
        row.addWidget(self.stop)
        measure = QFontMetrics(self.percent.font())
        self.percent.setFixedWidth(measure.horizontalAdvance("100 %"))
        self.percent.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.eta.setFixedWidth(measure.horizontalAdvance("ETA: 00:00 "))

    def _tint(self) -> None:
        for label in (self.detail, self.percent, self.eta):
            label.setStyleSheet(f"color: {self.colours.muted}")


class StageTimeline(_View):
    """The run's stages side by side: name, bar, and how many images came through in what time."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.status = RunStatus()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_status(self, status: RunStatus) -> None:
        """Show the stages of *status*; to be subscribed to a controller's `status`."""
        self._require_own_thread()
        if status.stages is not self.status.stages:
            self.status = status
            self.update()

    @property
    def texts(self) -> tuple[tuple[str, str], ...]:
        """Name and caption of each stage as they stand there, from left to right."""
        return tuple((stage.name, stage_caption(stage)) for stage in self.status.stages)

    def sizeHint(self) -> QSize:  # noqa: N802  Qt's name
        """Two lines of text and a bar."""
        return QSize(320, 2 * self.fontMetrics().height() + 8 + 6 + 6 + 4 + 8)

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802  Qt's name
        """Draw all stages."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        width = (self.width() - _GAP) / max(1, len(self.status.stages))
        for index, stage in enumerate(self.status.stages):
            self._draw_stage(painter, stage, _GAP + index * width, width - _GAP)
        painter.end()

    def _watch(self, source: Watchable) -> Iterable[abc.DisposableBase]:
        yield source.status.subscribe(on_next=self.show_status, on_error=self._fail)

    def _draw_stage(self, painter: QPainter, stage: StageStatus, left: float, width: float) -> None:
        colours, line = self.colours, self.fontMetrics().height()
        name = colours.muted if stage.state in {"waiting", "skipped"} else colours.text
        _write(painter, QRectF(left, 8, width, line), stage.name, name, bold=stage.state == "running")
        box = QRectF(left, 8 + line + 6, width, 6)
        _paint_bar(painter, box, stage.fraction, colours.of(tone_of(stage.state)), colours.track)
        caption = colours.bad if stage.failed or stage.state == "failed" else colours.muted
        _write(painter, QRectF(left, box.bottom() + 4, width, line), stage_caption(stage), caption)


class PreviewPane(_View):
    """The image in progress, as large as the pane allows, with a line that says which one it is.

    Where a run works on several at the same time, they stand side by side, each with a line and a bar of its own.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._tiles: Tiles[QImage] = Tiles()
        self.setMinimumSize(64, 64)

    def show_preview(self, preview: StagePreview) -> None:
        """Show *preview*; to be subscribed to a controller's `previews`."""
        caption = image_caption(preview.stage_type, preview.shown_number)
        self.show_picture(preview.data, caption, preview.shown_number)

    def show_status(self, status: RunStatus) -> None:
        """Show which images are in work, and how far they are; to be subscribed to a controller's `status`."""
        self._require_own_thread()
        if self._tiles.follow(status):
            self.update()

    def show_picture(self, data: bytes, caption: str, image_number: int | None = None) -> None:
        """Show an encoded picture that Qt reads; one that cannot be read leaves the last standing.

        Args:
            data: the file's bytes.
            caption: the line below.
            image_number: whose picture it is, 1..; where several are shown it stands in that image's place, and is left
                out if there is none.
        """
        self._require_own_thread()
        picture = QImage() if picture_format(data) is None else QImage.fromData(data)  # Qt reads SVG and others too
        self._tiles.put(None if picture.isNull() else picture, caption, image_number)
        self.update()

    def clear(self) -> None:
        """Show nothing."""
        self._tiles.clear()
        self.update()

    @property
    def caption(self) -> str:
        """The line at the foot of the pane."""
        return self._tiles.caption

    @property
    def texts(self) -> tuple[tuple[str, float | None], ...]:
        """Line and fraction (None: no bar) of each image shown, from left to right and from top to bottom."""
        return self._tiles.texts

    @property
    def shown_size(self) -> tuple[int, int] | None:
        """Width and height in pixels of the first picture in the pane, None while there is none."""
        shown = ((tile.picture, box) for tile, box in self._boxes() if tile.picture is not None)
        return next((_fitted(picture, box) for picture, box in shown), None)

    def sizeHint(self) -> QSize:  # noqa: N802  Qt's name
        """Return a small square."""
        return QSize(256, 256)

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802  Qt's name
        """Draw the pictures, or the frames they will stand in, with their bars, and the captions."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        for tile, box in self._boxes():
            self._draw_picture(painter, tile.picture, box)
            if len(self._tiles) > 1:
                self._draw_foot(painter, tile, box)
        line = QRectF(_GAP, self.height() - _EDGE - self._line, self.width() - 2 * _GAP, self._line)
        _write(painter, line, self.caption, self.colours.muted, centred=True)
        painter.end()

    def _watch(self, source: Watchable) -> Iterable[abc.DisposableBase]:
        yield source.status.subscribe(on_next=self.show_status, on_error=self._fail)
        yield source.previews.subscribe(on_next=self.show_preview, on_error=self._fail)

    @property
    def _line(self) -> int:
        return self.fontMetrics().height()

    def _boxes(self) -> Iterator[tuple[Tile[QImage], QRectF]]:
        """Each place, and where its picture stands."""
        count, height = len(self._tiles), self.height() - self._line - 2 * _EDGE
        columns = columns_for(count, self.width(), height)
        across, down = (self.width() - _GAP) / columns, (height - _GAP) / -(-count // columns)
        foot = _EDGE + 6 + 4 + self._line + _GAP if count > 1 else 0
        for number, tile in enumerate(self._tiles.tiles):
            left, top = _GAP + number % columns * across, _GAP + number // columns * down
            yield tile, QRectF(left, top, max(1, across - _GAP), max(1, down - foot))

    def _draw_picture(self, painter: QPainter, picture: QImage | None, box: QRectF) -> None:
        if picture is None:
            painter.setPen(QPen(QColor(self.colours.track), 1, Qt.PenStyle.DashLine))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(box)
            return
        width, height = _fitted(picture, box)
        left, top = box.center().x() - width / 2, box.center().y() - height / 2
        painter.drawImage(QRectF(left, top, width, height), picture)

    def _draw_foot(self, painter: QPainter, tile: Tile[QImage], box: QRectF) -> None:
        bar = QRectF(box.left(), box.bottom() + _EDGE, box.width(), 6)
        if tile.fraction is not None:
            _paint_bar(painter, bar, tile.fraction, self.colours.busy, self.colours.track)
        line = QRectF(box.left(), bar.bottom() + 4, box.width(), self._line)
        _write(painter, line, tile.caption, self.colours.muted, centred=True)


def _fitted(picture: QImage, box: QRectF) -> tuple[int, int]:
    """Width and height of a picture as large as *box* allows."""
    size = picture.size().scaled(box.size().toSize(), Qt.AspectRatioMode.KeepAspectRatio)
    return size.width(), size.height()


class _StopButton(QPushButton):
    """A button that Return presses too, but only while it has the focus."""

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802  Qt's name
        if event.key() in {Qt.Key.Key_Return, Qt.Key.Key_Enter}:
            self.click()
        else:
            super().keyPressEvent(event)


class _Dot(QWidget):
    """A filled circle."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._colour = ""
        self.setFixedSize(_DOT, _DOT)

    def set_colour(self, colour: str) -> None:
        self._colour = colour
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802  Qt's name
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(self._colour))
        painter.drawEllipse(self.rect())
        painter.end()


class _Bar(QWidget):
    """A bar with round ends, filled from the left."""

    def __init__(self, parent: _View) -> None:
        super().__init__(parent)
        self._view, self._fraction, self._colour = parent, 0.0, ""
        self.setFixedSize(_BAR, _DOT)

    def set_value(self, fraction: float, colour: str) -> None:
        self._fraction, self._colour = fraction, colour
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802  Qt's name
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        _paint_bar(painter, QRectF(self.rect()), self._fraction, self._colour, self._view.colours.track)
        painter.end()


class _Line(QLabel):
    """One line of text that gives way: shortened with an ellipsis, the whole in its tool tip."""

    def __init__(self, parent: QWidget, *, bold: bool = False) -> None:
        super().__init__(parent)
        font = self.font()
        font.setBold(bold)
        self.setFont(font)
        self._text = ""
        self.setTextFormat(Qt.TextFormat.PlainText)
        across = QSizePolicy.Policy.Maximum if bold else QSizePolicy.Policy.Ignored
        self.setSizePolicy(across, QSizePolicy.Policy.Preferred)

    def set_text(self, text: str) -> None:
        self._text = text
        self.updateGeometry()
        self._fill()

    def full_text(self) -> str:
        return self._text

    def sizeHint(self) -> QSize:  # noqa: N802  Qt's name
        return QSize(self.fontMetrics().horizontalAdvance(self._text) + 2, self.fontMetrics().height())

    def minimumSizeHint(self) -> QSize:  # noqa: N802  Qt's name
        return QSize(min(60, self.sizeHint().width()), self.fontMetrics().height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802  Qt's name
        super().resizeEvent(event)
        self._fill()

    def _fill(self) -> None:
        shown = self.fontMetrics().elidedText(self._text, _ELIDE, self.width())
        self.setText(shown)
        self.setToolTip(self._text if shown != self._text else "")


def _paint_bar(painter: QPainter, box: QRectF, fraction: float, colour: str, track: str) -> None:
    radius = box.height() / 2
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(track))
    painter.drawRoundedRect(box, radius, radius)
    if fraction > 0:
        filled = QRectF(box)
        filled.setWidth(max(box.height(), box.width() * min(1.0, fraction)))
        painter.setBrush(QColor(colour))
        painter.drawRoundedRect(filled, radius, radius)


def _write(
    painter: QPainter, box: QRectF, text: str, colour: str, *, bold: bool = False, centred: bool = False
) -> None:
    font = painter.font()
    font.setBold(bold)
    painter.setFont(font)
    painter.setPen(QColor(colour))
    across = Qt.AlignmentFlag.AlignHCenter if centred else Qt.AlignmentFlag.AlignLeft
    shown = painter.fontMetrics().elidedText(text, _ELIDE, int(box.width()))
    option = QTextOption(across | Qt.AlignmentFlag.AlignVCenter)
    option.setWrapMode(QTextOption.WrapMode.NoWrap)
    painter.drawText(box, shown, option)
