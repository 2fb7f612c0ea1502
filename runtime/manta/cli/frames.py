"""The stacks that processes send, taken apart: whose frames are whose, and what a thread waits for. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import manta

_FRAME: Final = re.compile(r'  File "(?P<path>.*)", line (?P<line>\d+), in (?P<function>.*)')
_STANDARD: Final = re.compile(r"/lib(?:64)?/python3\.\d+/(?!(?:site|dist)-packages/)")
_OUR_FOLDER: Final = os.path.dirname(os.path.abspath(manta.__file__)) + os.sep


class Whose(Enum):
    """Who wrote the code of a frame."""

    USER = "user"
    #: Installed packages.
    LIBRARY = "library"
    STANDARD = "standard"
    MANTA = "manta"


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a stack."""

    path: str
    line: int
    function: str
    #: Source lines, as sent.
    code: tuple[str, ...]
    whose: Whose


@dataclass(slots=True)
class Stack:
    """Where one thread, or one call on an event loop, stands."""

    #: "Thread MainThread", "Call Counter.add".
    title: str
    #: The innermost last.
    frames: list[Frame] = field(default_factory=list)
    #: What it waits for; "" if for nothing that Manta knows of.
    waits_for: str = ""

    @property
    def speaks(self) -> bool:
        """Whether it says something about the user's program."""
        return bool(self.waits_for) or any(frame.whose is Whose.USER for frame in self.frames)

    def relevant(self) -> list[Frame]:
        """From the user's first frame on, without Manta's own."""
        first = next((at for at, frame in enumerate(self.frames) if frame.whose is Whose.USER), len(self.frames))
        return [frame for frame in self.frames[first:] if frame.whose is not Whose.MANTA]


def parse(text: str) -> Stack:
    """Take one text of a StackReply apart: a title with a colon, frames as tracebacks show them, a line with an arrow."""
    lines = text.splitlines()
    stack = Stack(lines[0].removesuffix(":") if lines else "")
    code: list[str] = []
    for line in lines[1:]:
        found = _FRAME.fullmatch(line)
        if found is not None:
            code = []
            stack.frames.append(_frame(found, code))
        elif line.startswith("  -> "):
            stack.waits_for = line.removeprefix("  -> ").removeprefix("waits for ")
        elif line.strip() and stack.frames:
            last = stack.frames[-1]
            stack.frames[-1] = Frame(last.path, last.line, last.function, (*last.code, line.strip()), last.whose)
    return stack


def _frame(found: re.Match[str], code: Sequence[str]) -> Frame:
    path = found["path"]
    return Frame(path, int(found["line"]), found["function"], tuple(code), whose(path))


def whose(path: str) -> Whose:
    """Who wrote the file."""
    if path.startswith(_OUR_FOLDER):
        return Whose.MANTA
    if path.startswith("<frozen ") or _STANDARD.search(path):
        return Whose.STANDARD
    if "/site-packages/" in path or "/dist-packages/" in path:
        return Whose.LIBRARY
    return Whose.USER


def shortest(paths: Iterable[str], here: str) -> dict[str, str]:
    """Paths as people like to read them: relative to `here` where that is shorter."""
    return {path: min(path, os.path.relpath(path, here), key=len) if path.startswith("/") else path for path in paths}
