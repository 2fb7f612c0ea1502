"""HTML from values: everything is text, and escaped, unless it was made here. Pure.

There is no template language: what a stranger chose (a task's name, a log's line) cannot become markup by being forgotten.
"""

from __future__ import annotations

import html
from typing import Final

from manta.core.readable import harmless

#: Tags without an end.
_VOID: Final = frozenset({"input", "link", "meta"})


class Html(str):
    """Text that is markup already; only this module makes it."""

    __slots__ = ()


def tag(name: str, /, *inside: str | None, **attributes: str | float | bool | None) -> Html:
    """One element.

    Args:
        name: Its tag.
        inside: What it holds, in order.
        attributes: None and False leave one out, True is one without a value. A trailing underscore is cut, others are hyphens.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        said = key.rstrip("_").replace("_", "-")
        words.append(said if value is True else f'{said}="{escape(str(value))}"')
    begin = f"<{' '.join(words)}>"
    return Html(begin if name in _VOID else f"{begin}{join(*inside)}</{name}>")


def join(*parts: str | None) -> Html:
    """Parts one after the other."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts if part is not None))


def escape(text: str) -> Html:
    """A text as it is, line breaks and tabs included; other control characters and what turns lines around are shown as `?`."""
    clean = "".join(letter if letter.isprintable() or letter in "\n\t" else "?" for letter in text)
    return Html(html.escape(clean))


def short(text: str | None, most: int = 80) -> str:
    """A stranger's text in one line."""
    return harmless(text or "", most)


def raw(text: str) -> Html:
    """Markup, style or script that we wrote ourselves."""
    return Html(text)


def table(columns: tuple[str, ...], rows: list[list[str]], *, name: str, empty: str, total: int | None = None) -> Html:
    """A table with headers, or a sentence where there is nothing.

    Args:
        columns: Headers.
        rows: Cells; those that are no `td` yet become one. The first of each row is its header.
        name: What it lists, for those who do not see it.
        empty: Said instead of a table without rows.
        total: How many there are, if not all are among the rows.
    """
    if not rows:
        return tag("p", empty, class_="empty")
    head = tag("tr", *(tag("th", column, scope="col") for column in columns))
    body = [
        tag(
            "tr",
            *(tag("th", cell, scope="row") if at == 0 else tag("td", cell) for at, cell in enumerate(row)),
        )
        for row in rows
    ]
    shown = tag("table", tag("caption", name), tag("thead", head), tag("tbody", *body))
    note = tag("p", f"{len(rows)} of {total} shown", class_="note") if total is not None and total > len(rows) else None
    # It may be wider than the screen: whoever has no mouse scrolls it by the keyboard.
    return join(tag("div", shown, class_="wide", tabindex=0, role="region", aria_label=name), note)


def bar(used: float, most: float, text: str, *, alarm: bool = True) -> Html:
    """A bar, with the same in words; without words it only adorns what stands beside it.

    Args:
        used: How much.
        most: Of how much.
        text: The words.
        alarm: Whether nearly all is too much.
    """
    share = min(1.0, max(0.0, used / most)) if most > 0 else 0.0
    name = {"aria_label": text} if text else {"aria_hidden": "true"}
    marks = {"low": 0.8, "high": 0.95, "optimum": 0} if alarm else {}
    meter = tag("meter", f"{share:.0%}", min=0, max=1, value=f"{share:.3f}", **marks, **name)
    return tag("span", meter, text or None, class_="bar")


#: Which words are good, which bad; others are neither.
_GOOD: Final = frozenset({"ALIVE", "RUNNING", "SUCCEEDED", "FINISHED", "CREATED"})
_BAD: Final = frozenset({"DEAD", "FAILED", "LOST"})
_DONE: Final = frozenset({"STOPPED", "REMOVED", "SUCCEEDED", "FINISHED"})


def state(word: str, said: str = "") -> Html:
    """A state, in words and in a colour; `said` are other words for it."""
    kind = "bad" if word in _BAD else "done" if word in _DONE else "good" if word in _GOOD else "wait"
    return tag("span", said or word.replace("_", " ").lower(), class_=f"state {kind}")
