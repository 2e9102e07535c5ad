"""The grammar of marbles: text in, marks out, and back.

```text
-          one frame, 1 ms, in which nothing happens        a b 1      a value by that name; takes one frame
|  #       the end, the error; takes one frame              {upscale}  a value by a longer name; takes one frame
(ab|)      all at one instant; as wide as RxJS has it,      [ab|]      all at one instant, in one frame
           a frame each and two for the parentheses
100ms      time passes: us, ms, s, m; spaces around it      @1.5ms     the next mark is at that time; spaces around it
^  !       subscribed, unsubscribed; in a hot stream `^` is time zero      (spaces mean nothing)
```

A value is a letter, a digit, an emoji, or a name in braces. `@` counts from time zero, as the times of a failure do: in
"--a-^-b @3s c" c comes 3 s after `^`, and before `^` there is no `@`.
The surprise: a mistake is never guessed at. It raises `MarbleSyntaxError` with a caret under it.
"""

from __future__ import annotations

import gc
import re
from dataclasses import dataclass, field
from functools import partial
from itertools import compress, repeat
from typing import TYPE_CHECKING, Literal, NamedTuple

from rxpipe.testing.clock import UNITS, US_PER_MS, MarbleError, in_words, microseconds
from rxpipe.testing.columns import text_width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__tracebackhide__ = True  # pytest shows the test's line, not ours

Kind = Literal["next", "end", "error", "on", "off"]
FRAME_US = US_PER_MS

SYMBOLS: dict[str, Kind] = {"|": "end", "#": "error", "^": "on", "!": "off"}
SIGNS = {kind: symbol for symbol, kind in SYMBOLS.items()}
CLOSING = {"(": ")", "[": "]"}
TIME = re.compile(r"(@)?(\d++(?:\.\d++)?(?:us|ms|s|m))")
NAME = re.compile(r"\{([^{}\n]+)\}")
DIGITS = re.compile(r"\d+")
PICTURE = "[\u203c-\u3299\U0001f000-\U0001f1e5\U0001f200-\U0001faff]\ufe0f?[\U0001f3fb-\U0001f3ff]?"
EMOJI = re.compile(f"[\U0001f1e6-\U0001f1ff]{{2}}|{PICTURE}(?:\u200d{PICTURE})*")
"""One emoji of as many characters as it takes: a flag, a skin, a family."""
JOINERS = "[\u200d\ufe0f\U0001f3fb-\U0001f3ff]"
"""What makes one emoji of itself and the character before it."""
DIGIT = r"\d++(?!\.|us|ms|s|m)"
PLAIN = "[\U0001f300-\U0001f3fa\U0001f400-\U0001faff]"
FRAMES = rf"(?:[^\W\d_]+(?!{JOINERS})|-++|\s++|{DIGIT}|{PLAIN}(?!{JOINERS}))++"
"""A stretch in which every character is a frame: silence, letters, digits that begin no time, plain emoji; blanks."""
VALUES = rf"(?:[^\W\d_]+(?!{JOINERS})|\s++|{DIGIT}|{PLAIN}(?!{JOINERS})|\{{[^{{}}\n]++\}})++"
VALUE = re.compile(r"\{([^{}\n]+)\}|(\S)")
PIECE = re.compile(
    rf"({FRAMES})|\{{([^{{}}\n]++)\}}|\(({VALUES})([|#]?)\)|\[({VALUES})([|#]?)\]"
    r"|(?<!\S)(\d{1,9}+)(us|ms|s|m)(?:\s++|\Z)|(.)",
    re.DOTALL,
)
"""What is read in one go: frames, a name, a group of values that may end, a time in whole units; else a character."""
IS_FRAMES, IS_NAME, IS_WIDE, IS_NARROW, IS_TIME = 1, 2, 4, 6, 8
"""The number of the last part of a piece that was there."""
MANY = 10_000
LAST_US = 250_000_000_000_000_000  # some 7,900 years: a datetime can hold no more


class MarbleSyntaxError(MarbleError):
    """A diagram that is no diagram; the message shows it with a caret under the mistake."""

    def __init__(self, text: str, position: int, problem: str, *, hint: str | None = None) -> None:
        self.text, self.position, self.problem = text, position, problem
        shown = text.replace("\n", " ").replace("\t", " ")
        advice = "" if hint is None else f"\n{hint}"
        super().__init__(f"{problem}\n  {shown}\n  {' ' * text_width(shown[:position])}^{advice}")


class Mark(NamedTuple):
    """One thing at one time: `at` in microseconds from time zero, `name` the letter or `{name}` of a value."""

    at: int
    kind: Kind
    name: str = ""


_EVERY_NEXT: Iterator[Kind] = repeat("next")
_made: Callable[[tuple[int, Kind, str]], Mark] = partial(tuple.__new__, Mark)  # as Mark(...), in half the time


@dataclass(frozen=True)
class Diagram:
    """A parsed text. `marks` in order of time, `length_us` where the text ends, both from time zero (`^`)."""

    marks: tuple[Mark, ...]
    length_us: int = field(default=0, compare=False)


@dataclass
class _Reader:
    """Walks a text; `at` is the frame's time in microseconds, `group` the open bracket and its position."""

    text: str
    position: int = 0
    at: int = 0
    zero: int | None = None
    group: tuple[str, int, int] | None = None
    early_time: int | None = None
    marks: list[Mark] = field(default_factory=list)

    def fail(self, problem: str, position: int | None = None, hint: str | None = None) -> MarbleSyntaxError:
        where = self.position if position is None else position
        return MarbleSyntaxError(self.text, where, problem, hint=hint)

    def read(self) -> Diagram:
        pauses = len(self.text) > MANY and gc.isenabled()  # a collection would look at all marks again and again
        if pauses:
            gc.disable()
        try:
            self.read_all()
        finally:
            if pauses:
                gc.enable()
        if self.group is not None:
            raise self.fail(f"this {self.group[0]!r} is never closed", self.group[1])
        if not self.zero:
            return Diagram(tuple(self.marks), self.at)
        return Diagram(tuple(mark._replace(at=mark.at - self.zero) for mark in self.marks), self.at - self.zero)

    def read_all(self) -> None:
        while self.position < len(self.text):
            self.read_pieces()
            while self.position < len(self.text):
                self.step(self.text[self.position])
                if self.group is None:
                    break

    def read_pieces(self) -> None:
        """Read on until something has to be read by a character at a time."""
        at, position, made = self.at, self.position, list[tuple[int, Kind, str]]()
        append = made.append
        for piece in PIECE.finditer(self.text, position):
            part = piece.lastindex
            if part == IS_FRAMES:
                frames = piece[1]
                if not frames.isalnum():
                    frames = "".join(frames.split())
                times = range(at, at + FRAME_US * len(frames), FRAME_US)
                made += compress(zip(times, _EVERY_NEXT, frames, strict=False), map("-".__ne__, frames))
                at += FRAME_US * len(frames)
            elif part == IS_NAME:
                append((at, "next", piece[2]))
                at += FRAME_US
            elif part in {IS_WIDE, IS_NARROW}:
                values, end = piece.group(part - 1, part)
                names = values if values.isalnum() else ["".join(parts) for parts in VALUE.findall(values)]
                if not names:
                    break
                for name in names:
                    append((at, "next", name))
                if end:
                    append((at, SYMBOLS[end], ""))
                at += FRAME_US * (len(names) + bool(end) + 2 if part == IS_WIDE else 1)
            elif part == IS_TIME:
                at += int(piece[7]) * UNITS[piece[8]]
            else:
                break
            position = piece.end()
        self.at, self.position = at, position
        self.marks += map(_made, made)

    def step(self, char: str) -> None:
        if char.isspace():
            self.position += 1
        elif char == "@" or char.isdigit():
            self.read_time_or_digit(char)
        elif char in "([":
            self.open_group(char)
        elif char in ")]":
            self.close_group(char)
        elif char == "-":
            self.pass_frame()
        else:
            self.read_mark(char)

    def read_time_or_digit(self, char: str) -> None:
        match = TIME.match(self.text, self.position)
        if match is None and char == "@":
            raise self.fail("'@' needs a time", hint="Write @1.5ms.")
        if match is None:
            digits = DIGITS.match(self.text, self.position)  # all of them: a time would begin at the first
            for digit in digits[0] if digits else char:
                self.add("next", digit, 1)
            return
        if self.group is not None:
            raise self.fail("time cannot pass inside a group")
        around = self.text[self.position - 1 : self.position] + self.text[match.end() : match.end() + 1]
        if around and not around.isspace():
            raise self.fail(
                f"{match[0]!r} is a time and needs spaces around it", hint="Values would be written {1}m or 1 m."
            )
        self.pass_time(match)

    def pass_time(self, match: re.Match[str]) -> None:
        length = self.duration(match[2])
        if match[1] and self.zero is None and self.early_time is None:
            self.early_time = self.position
        to = length + (self.zero or 0) if match[1] else self.at + length
        if self.marks and to < self.marks[-1].at:
            raise self.fail(f"{match[0]} lies before the mark before it, at {in_words(self.marks[-1].at)}")
        self.at = to
        self.position = match.end()

    def duration(self, text: str) -> int:
        try:
            length = microseconds(text)
        except MarbleError as error:
            raise self.fail(error.message) from error
        if length > LAST_US:
            raise self.fail(f"{text} lies beyond what a clock can show", hint="At most 250000000000s.")
        return length

    def open_group(self, char: str) -> None:
        if self.group is not None:
            raise self.fail("a group cannot contain a group")
        self.group = (char, self.position, len(self.marks))
        self.position += 1

    def close_group(self, char: str) -> None:
        if self.group is None:
            raise self.fail(f"{char!r} closes nothing")
        opened, position, first = self.group
        if CLOSING[opened] != char:
            raise self.fail(f"{char!r} closes {opened!r}", hint=f"Write {CLOSING[opened]!r}.")
        count = len(self.marks) - first
        if not count:
            raise self.fail("an empty group has no meaning", position)
        self.group = None
        self.at += FRAME_US if opened == "[" else FRAME_US * (count + 2)
        self.position += 1

    def pass_frame(self) -> None:
        if self.group is not None:
            raise self.fail("time cannot pass inside a group", hint="Close it before '-'.")
        self.at += FRAME_US
        self.position += 1

    def read_mark(self, char: str) -> None:
        name = NAME.match(self.text, self.position)
        if char in SYMBOLS:
            self.add(SYMBOLS[char], "", 1)
        elif name is not None:
            self.add("next", name[1], len(name[0]))
        elif char == "{":
            raise self.fail("a name needs '}' and at least one character between", hint="Write {upscale}.")
        elif (emoji := EMOJI.match(self.text, self.position)) and (len(emoji[0]) > 1 or not char.isalnum()):
            self.add("next", emoji[0], len(emoji[0]))
        elif char.isalnum():
            self.add("next", char, 1)
        else:
            hint = "Values at one instant stand side by side: (ab)." if char == "," else f"A value: {{{char}}}."
            raise self.fail(f"{char!r} means nothing here", hint=None if char == "}" else hint)

    def add(self, kind: Kind, name: str, width: int) -> None:
        if kind == "on":
            if self.zero is not None:
                raise self.fail("a second '^'")
            self.zero = self.at
        self.marks.append(Mark(self.at, kind, name))
        self.position += width
        if self.group is None:
            self.at += FRAME_US


def parse(text: str, *, lawful: bool = True, cancelled: bool = False, past: bool = True) -> Diagram:
    """Return the marks of a stream; with `^` in it times count from there, and earlier ones are negative.

    Args:
        text: see the module's table.
        lawful: False lets marks follow the end, for sources that misbehave on purpose.
        past: False refuses `^`, which only a hot stream has.
        cancelled: True lets `!` be an end of its own, for the rows of a run's timeline.

    Raises:
        MarbleSyntaxError: with a caret under the mistake.
    """
    reader = _Reader(text)
    diagram = reader.read()
    if not past and reader.zero is not None:
        raise reader.fail("only a hot stream has a '^'", _outside_names(text).index("^"), hint="Times count from 0.")
    if not cancelled and (off := _outside_names(text).find("!")) >= 0:
        raise reader.fail("'!' belongs in a subscription", off, hint='expect(stream, "^--!") unsubscribes there.')
    if reader.zero and reader.early_time is not None:
        raise reader.fail(
            "'@' counts from '^', and stands before it", reader.early_time, hint="Write the time that passes: 3s."
        )
    marks = diagram.marks
    if reader.zero is not None:
        marks = tuple(mark for mark in marks if mark.kind != "on")
    if lawful:
        _refuse_after_the_end(text, reader)
    return Diagram(marks, diagram.length_us)


def _refuse_after_the_end(text: str, reader: _Reader) -> None:
    plain = _outside_names(text)
    end = min((i for i in map(plain.find, "|#!") if i >= 0), default=None)
    if end is None:
        return
    for position in range(end + 1, len(plain)):
        if not plain[position].isspace() and plain[position] not in ")]-":
            raise reader.fail("nothing can follow the end", position)


def _outside_names(text: str) -> str:
    """Return *text* with every {name} blanked by letters, so that its symbols are symbols."""
    if "{" not in text:
        return text
    return NAME.sub(lambda match: "x" * len(match[0]), text)


class Subscription(NamedTuple):
    """When a stream was listened to: microseconds; `off_us` is None while it still is."""

    on_us: int
    off_us: int | None = None


def parse_subscription(text: str) -> Subscription | None:
    """Return the `^` and `!` of a text counted from its *beginning*; None without either, which means never.

    Raises:
        MarbleSyntaxError: anything but frames, times, one `^` and one `!` after it.
    """
    reader = _Reader(text)
    marks = reader.read().marks
    zero = reader.zero or 0
    times = {mark.kind: mark.at + zero for mark in marks}
    plain = _outside_names(text)
    for symbol in "|#":
        if symbol in plain:
            raise reader.fail(f"{symbol!r} has no place in a subscription", plain.index(symbol))
    if value := next((mark for mark in marks if mark.kind == "next"), None):
        raise reader.fail("a value has no place in a subscription", text.find(value.name))
    if sum(mark.kind == "off" for mark in marks) > 1:
        raise reader.fail("a second '!'", text.rindex("!"))
    if "off" in times and ("on" not in times or text.index("!") < text.index("^")):
        raise reader.fail("'!' needs a '^' before it", text.index("!"))
    return Subscription(times["on"], times.get("off")) if "on" in times else None


def parse_moment(text: str) -> int:
    """Return the time of the one `!` of a text, in microseconds from its beginning: "-----!", " 2s !".

    Raises:
        MarbleSyntaxError: anything but frames, times and one `!`.
    """
    reader = _Reader(text)
    marks = reader.read().marks
    if [mark.kind for mark in marks] != ["off"]:
        raise reader.fail("a moment is frames and one '!'", hint='Write "-----!".')
    return marks[0].at
