"""A whole window in Qt over one controller: prompt, buttons, preview, stages, finished pictures, status bar.

    pip install "rxpipe[sketch,qt]"
    python qt_window.py

Everything it shows comes from the controller's streams, and every button calls the controller. With PyQt6 change the
imports from PySide6 to PyQt6 and nothing else.
"""

import sys

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QIcon, QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QApplication,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QMainWindow,
    QPlainTextEdit,
    QPushButton,
    QSpinBox,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

import rxpipe as rxp
from rxpipe.rx.mainloop import QtScheduler
from rxpipe.views.qt import PreviewPane, StageTimeline, StatusBar


class Window(QMainWindow):
    """The form on the left, what happens on the right."""

    def __init__(self, backend: rxp.Backend) -> None:
        super().__init__()
        self.setWindowTitle("rxpipe in Qt")
        self.resize(1180, 720)
        self.controller = rxp.PipelineController(rxp.PipelineRunner(backend), scheduler=QtScheduler(self))
        self.prompt = QPlainTextEdit("a lighthouse at dusk, warm light, waves")
        self.images, self.steps, self.factor = spin(1, 100, 4), spin(1, 150, 20), spin(1, 4, 2)
        self.run, self.stop, self.skip = QPushButton("Run"), QPushButton("Stop"), QPushButton("Skip this image")
        self.message = QLabel(wordWrap=True)
        self.preview, self.timeline, self.bar = PreviewPane(), StageTimeline(), StatusBar(stop=False)
        self.pictures = QListWidget(viewMode=QListWidget.ViewMode.IconMode, iconSize=QSize(112, 112))
        self.pictures.setResizeMode(QListWidget.ResizeMode.Adjust)
        self.items: dict[str, QListWidgetItem] = {}  # by image; each later stage replaces its picture
        self.run.clicked.connect(self.start)
        self.stop.clicked.connect(self.controller.cancel)
        self.skip.clicked.connect(self.controller.skip_image)
        QShortcut(QKeySequence("Ctrl+Return"), self, self.start)
        self.lay_out()
        for view in (self.preview, self.timeline, self.bar):
            view.attach(self.controller)
        self.controller.status.subscribe(self.on_status)
        self.controller.events.subscribe(self.on_event)

    def lay_out(self) -> None:
        """Put the parts where they belong."""
        form = QFormLayout()
        for title, field in (("Images", self.images), ("Steps", self.steps), ("Upscale by", self.factor)):
            form.addRow(title, field)
        left, right = QWidget(), QSplitter(Qt.Orientation.Vertical)
        column = QVBoxLayout(left)
        column.addWidget(QLabel("Prompt"))
        column.addWidget(self.prompt)
        column.addLayout(form)
        column.addWidget(self.run)
        row = QHBoxLayout()
        row.addWidget(self.stop)
        row.addWidget(self.skip)
        column.addLayout(row)
        column.addWidget(self.message)
        self.message.setMinimumHeight(3 * self.fontMetrics().height())  # kept, so that no button moves when it speaks
        for part, stretch in ((self.preview, 3), (self.timeline, 0), (self.pictures, 1)):
            right.addWidget(part)
            right.setStretchFactor(right.count() - 1, stretch)
        right.setSizes([420, 60, 180])
        both = QSplitter()
        both.addWidget(left)
        both.addWidget(right)
        both.setSizes([340, 840])
        around = QWidget()
        whole = QVBoxLayout(around)
        whole.addWidget(both, 1)
        whole.addWidget(self.bar)
        self.setCentralWidget(around)

    def start(self) -> None:
        """Start a run of what the form says, or queue it behind the one in progress."""
        config = rxp.PipelineConfig(
            txt2img=rxp.Txt2ImgConfig(
                prompt=self.prompt.toPlainText(), images=self.images.value(), steps=self.steps.value()
            ),
            upscale=rxp.UpscaleConfig(scale=self.factor.value()) if self.factor.value() > 1 else None,
        )
        try:
            self.controller.start(config, queue=True)
        except rxp.RxPipeError as error:
            self.message.setText(str(error))

    def on_status(self, status: rxp.RunStatus) -> None:
        """Show what can be pressed; on the GUI thread, as everything from the controller."""
        self.run.setText("Add to queue" if status.active else "Run")
        self.stop.setEnabled(status.active)
        self.skip.setEnabled(status.state == "running")

    def on_event(self, event: rxp.StageEvent) -> None:
        """Hang up each finished picture, and say why a run failed."""
        if isinstance(event, rxp.StageImageProgress) and event.path and event.outcome in {"done", "passed"}:
            if event.artifact_id not in self.items:
                self.items[event.artifact_id] = QListWidgetItem(str(event.seed), self.pictures)
            self.items[event.artifact_id].setIcon(QIcon(str(event.path)))
            self.pictures.scrollToItem(self.items[event.artifact_id])
        elif isinstance(event, rxp.RunEnd):
            self.message.setText(str(event.error) if event.error else "")

    def closeEvent(self, event: object) -> None:  # noqa: N802  # Qt's name
        """Stop what runs; finished pictures are kept."""
        self.controller.close()
        super().closeEvent(event)


def spin(low: int, high: int, value: int) -> QSpinBox:
    """Return a field for a number."""
    field = QSpinBox(minimum=low, maximum=high)
    field.setValue(value)
    return field


def main() -> int:
    """Open the window; return when it is closed."""
    app = QApplication.instance() or QApplication(sys.argv)
    window = Window(rxp.open_backend())
    window.show()
    return app.exec()


if __name__ == "__main__":
    sys.exit(main())
