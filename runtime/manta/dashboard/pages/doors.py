"""Pages for who is not let in: signing in, and what a browser is told instead of a page. Pure."""

from __future__ import annotations

import re
from typing import Final

from manta.dashboard.pages.document import document
from manta.dashboard.pages.html import tag

#: Where one may be led after signing in: a path of ours.
_PATH: Final = re.compile(r"/(?:jobs/[A-Za-z0-9_.-]+)?")


def own_path(path: str) -> str:
    """The path, if it is one of a page of ours; else the overview's."""
    return path if _PATH.fullmatch(path) else "/"


def sign_in(onward: str, *, wrong: str = "", ticket: str = "") -> str:
    """Asks for a token, or with a ticket for a click: a link alone is followed by programs that look what is behind it.

    Args:
        onward: The page that was asked for.
        wrong: Why the last attempt failed.
        ticket: What a sign-in link brought.
    """
    refused = tag("p", f"{wrong[:1].upper()}{wrong[1:]}.", class_="error", role="alert") if wrong else None
    further = tag("input", type="hidden", name="next", value=own_path(onward))
    if ticket and not wrong:
        return document(
            "Sign in - Manta",
            tag("h1", "Manta"),
            tag("p", "This link signs this browser in once, for twelve hours, to look and not to change anything."),
            tag(
                "form",
                tag("input", type="hidden", name="ticket", value=ticket),
                further,
                tag("button", "Sign in", type="submit", autofocus=True),
                method="post",
                action="/sign-in",
            ),
        )
    return document(
        "Sign in - Manta",
        tag("h1", "Manta"),
        refused,
        tag(
            "form",
            tag("label", "Token of this cluster", for_="token"),
            tag(
                "input",
                type="password",
                name="token",
                id="token",
                required=True,
                autofocus=True,
                autocomplete="current-password",
                spellcheck="false",
                maxlength=200,
            ),
            further,
            tag("button", "Sign in", type="submit"),
            method="post",
            action="/sign-in",
        ),
        tag(
            "p",
            "On the cluster's head, ",
            tag("code", "manta dashboard"),
            " prints a link that needs no token, and where the tokens are. A viewer's is enough.",
            class_="note",
        ),
    )


def from_elsewhere(path: str) -> str:
    """For who followed another site's link: nothing is shown to a request that another site made."""
    onward = own_path(path)
    return document(
        "Manta",
        tag("h1", "Manta"),
        tag("p", "You came by a link of another site."),
        tag("p", tag("a", "Go on", href=onward, id="onward"), " if you meant to look at this cluster."),
    )


def trouble(title: str, sentence: str) -> str:
    """For what went wrong."""
    return document(
        f"{title} - Manta",
        tag("h1", title),
        tag("p", sentence, class_="error", role="alert"),
        tag("p", tag("a", "All of the cluster", href="/")),
    )
