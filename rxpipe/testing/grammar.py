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
from itertools import compress, groupby, pairwise, repeat
from typing import TYPE_CHECKING, Literal, NamedTuple

from rxpipe.testing.clock import US_PER_MS, MarbleError, in_words, microseconds
from rxpipe.testing.columns import text_width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__tracebackhide__ = True  # pytest shows the test's line, not ours

Kind = Literal["next", "end", "error", "on", "off"]
FRAME_US = US_PER_MS

SYMBOLS: dict[str, Kind] = {"|": "end", "#": "error", "^": "on", "!": "off"}
SIGNS = {kind: symbol for symbol, kind in SYMBOLS.items()}
CLOSING = {"(": ")", "[": "]"}
TIME = re.compile(r"(@)?(\d++(?:\.\d++)?(?:us|ms|s|m))")
NAME = re.compile(r"\{([^{}\n]+)\}")
FRAMES = re.compile(r"(?:[^\W\d_]++|-++|\d++(?!\.|us|ms|s|m))++")
GROUP = re.compile(r"[(\[]([^\W\d_]++)([|#]?)[)\]]")
DIGITS = re.compile(r"\d+")
"""A stretch in which every character is a frame: silence, letters, digits that begin no time."""
PICTURE = "[\u203c-\u3299\U0001f000-\U0001f1e5\U0001f200-\U0001faff]\ufe0f?[\U0001f3fb-\U0001f3ff]?"
EMOJI = re.compile(f"[\U0001f1e6-\U0001f1ff]{{2}}|{PICTURE}(?:\u200d{PICTURE})*")
"""One emoji of as many characters as it takes: a flag, a skin, a family."""
LONGEST_DASHES = 12
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
        while self.position < len(self.text):
            if self.group is None and (self.read_frames() or self.read_name_or_group()):
                continue
            self.step(self.text[self.position])
        if self.group is not None:
            raise self.fail(f"this {self.group[0]!r} is never closed", self.group[1])
        if not self.zero:
            return Diagram(tuple(self.marks), self.at)
        return Diagram(tuple(mark._replace(at=mark.at - self.zero) for mark in self.marks), self.at - self.zero)

    def read_frames(self) -> bool:
        """Read what is a frame a character, in one go; return whether there was any."""
        stretch = FRAMES.match(self.text, self.position)
        if stretch is None:
            return False
        at, text = self.at, stretch[0]
        self.at += FRAME_US * len(text)
        self.position += len(text)
        if len(text) == 1:
            if text != "-":
                self.marks.append(_made((at, "next", text)))
            return True
        frames = zip(range(at, self.at, FRAME_US), _EVERY_NEXT, text, strict=False)
        pauses = len(text) > MANY and gc.isenabled()  # a collection would look at all marks again and again
        if pauses:
            gc.disable()
        try:
            self.marks += map(_made, compress(frames, map("-".__ne__, text)))
        finally:
            if pauses:
                gc.enable()
        return True

    def read_name_or_group(self) -> bool:
        """Read a {name}, or a group of letters with or without an end, in one go; return whether there was one."""
        char = self.text[self.position]
        name = NAME.match(self.text, self.position) if char == "{" else None
        if name is not None:
            self.marks.append(_made((self.at, "next", name[1])))
            self.at += FRAME_US
            self.position = name.end()
            return True
        group = GROUP.match(self.text, self.position) if char in CLOSING else None
        if group is None or group[0][-1] != CLOSING[char]:
            return False
        letters, end, at = group[1], group[2], self.at
        self.marks += [_made((at, "next", letter)) for letter in letters]
        if end:
            self.marks.append(Mark(at, SYMBOLS[end]))
        self.at += FRAME_US if char == "[" else FRAME_US * (len(letters) + len(end) + 2)
        self.position = group.end()
        return True

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
        elif char.isalnum():
            self.add("next", char, 1)
        elif emoji := EMOJI.match(self.text, self.position):
            self.add("next", emoji[0], len(emoji[0]))
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


def render(marks: Iterable[Mark]) -> str:
    """Return the shortest text that parses to *marks*; `parse(render(marks)).marks == marks`.

    Raises:
        MarbleError: times that fall, or a name that holds a brace or a line break.
    """
    groups = [(at, list(group)) for at, group in groupby(marks, key=lambda mark: mark.at)]
    if any(later <= at for (at, _), (later, _) in pairwise(groups)):
        raise MarbleError("Marks to render must be in order of time.")
    early = bool(groups) and groups[0][0] < 0
    if early:
        groups = _with_zero(groups)
    return "".join(_apart(_lay_out(groups, early=early))).strip()


def _apart(tokens: Iterable[str]) -> Iterator[str]:
    """Yield the tokens, and a blank where a digit and a letter would be read as a time."""
    before = ""
    for text in tokens:
        if before[-1:].isdigit() and text[:1] in {"u", "m", "s"}:
            yield " "
        yield text
        before = text or before


def _with_zero(groups: list[tuple[int, list[Mark]]]) -> list[tuple[int, list[Mark]]]:
    zero = Mark(0, "on")
    if any(at == 0 for at, _ in groups):
        return [(at, [zero, *marks] if at == 0 else marks) for at, marks in groups]
    return sorted([*groups, (0, [zero])])


def _lay_out(groups: list[tuple[int, list[Mark]]], *, early: bool) -> Iterator[str]:
    at = groups[0][0] if early else 0
    for index, (start, marks) in enumerate(groups):
        if start < at:
            if early and start <= 0:
                raise MarbleError("Up to time zero, each mark needs a frame of its own.")
            yield f" @{in_words(start)} "
        else:
            yield _gap(start - at)
        following = groups[index + 1][0] if index + 1 < len(groups) else None
        text, width = _cell(marks, following if following is None else following - start)
        yield text
        at = start + width


def _gap(us: int) -> str:
    if us % FRAME_US == 0 and us <= LONGEST_DASHES * FRAME_US:
        return "-" * (us // FRAME_US)
    return f" {in_words(us)} "


def _cell(marks: list[Mark], room_us: int | None) -> tuple[str, int]:
    tokens = "".join(_apart(token(mark) for mark in marks))
    if len(marks) == 1:
        return tokens, FRAME_US
    wide = FRAME_US * (len(marks) + 2)
    return (f"({tokens})", wide) if room_us is None or room_us >= wide else (f"[{tokens}]", FRAME_US)


def token(mark: Mark) -> str:
    """Return how one mark is written: its symbol, its letter, or its {name}."""
    if mark.kind != "next":
        return SIGNS[mark.kind]
    is_blank = mark.name.isspace()  # some blanks lie between the pictures
    if (len(mark.name) == 1 and mark.name.isalnum()) or (EMOJI.fullmatch(mark.name) and not is_blank):
        return mark.name
    if not NAME.fullmatch("{" + mark.name + "}"):
        raise MarbleError(f"{mark.name!r} cannot be a name in a diagram.")
    return "{" + mark.name + "}"


def render_subscription(subscription: Subscription | None) -> str:
    """Return `^--!` for a subscription that is over, `^` for one that is not, nothing for none."""
    if subscription is None:
        return ""
    marks = [Mark(subscription.on_us, "on")]
    if subscription.off_us is not None:
        marks.append(Mark(subscription.off_us, "off"))
    return render(marks)
