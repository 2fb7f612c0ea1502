"""The pages of docs/kubernetes, and the commands in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.charts.rendering import ROOT

FOLDER = ROOT / "docs" / "kubernetes"
#: "sh by hand": what needs somebody's own machine. The others are run as they stand, in tests/e2e.
_BLOCK = re.compile(r"^```sh( by hand)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: In running text: options of helm, between backquotes.
_OPTION = re.compile(r"`--set '?([^'`]+)'?`")


@dataclass(frozen=True, slots=True)
class Command:
    """One line of a block.

    Attributes:
        page: The file's name.
        line: As it stands there.
    """

    page: str
    line: str

    @property
    def words(self) -> list[str]:
        """As the shell takes it apart; variables before the program left out, and what comes after a pipe or a redirection."""
        text = self.line.removesuffix("&").strip().removeprefix("(umask 077; ").removesuffix(")")
        words = []
        for word in shlex.split(text):
            if word in (">", "|", ";"):
                break
            words.append(word)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            del words[0]
        return words


def pages() -> list[Path]:
    """All of them."""
    return sorted(FOLDER.glob("*.md"))


def commands() -> list[Command]:
    """Every command of every page, in their order."""
    return [
        Command(page.name, line.strip())
        for page in pages()
        for _, block in _BLOCK.findall(page.read_text())
        for line in re.sub(r"\\\n\s*", "", block).splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]


def blocks(page: str) -> list[str]:
    """The blocks of a page that are run as they stand."""
    return [block for by_hand, block in _BLOCK.findall((FOLDER / page).read_text()) if not by_hand]


def settings() -> list[tuple[str, str]]:
    """Options `--set` in running text: page and what is set."""
    return [(page.name, found) for page in pages() for found in _OPTION.findall(page.read_text())]
