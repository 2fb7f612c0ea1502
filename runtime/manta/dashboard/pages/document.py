"""The document around a page's contents, and the policy under which browsers show it. Pure.

Style and script stand in the page itself and are allowed by their hashes: nothing else is fetched but news from this server, and
what a stranger's text might smuggle in is neither.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Final

from manta.dashboard.pages.html import Html, join, raw, tag
from manta.version import __version__

_HERE: Final = Path(__file__).parent
_STYLE: Final = (_HERE / "page.css").read_text(encoding="utf-8")
_SCRIPT: Final = (_HERE / "page.js").read_text(encoding="utf-8")


def _allowed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_REST: Final = "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_POLICY: Final = f"default-src 'none'; style-src {_allowed(_STYLE)}; {_REST}"
_LIVE_POLICY: Final = (
    f"default-src 'none'; style-src {_allowed(_STYLE)}; script-src {_allowed(_SCRIPT)}; connect-src 'self'; {_REST}"
)


def headers(*, live: bool) -> dict[str, str]:
    """What goes with a document.

    Args:
        live: It has the script.
    """
    return {
        "Content-Security-Policy": _LIVE_POLICY if live else _POLICY,
        # A form's Origin is `null` under the stricter policy that answers to programs have, and would be refused.
        "Referrer-Policy": "same-origin",
    }


def document(title: str, *inside: str | None) -> str:
    """A page without a script."""
    return _whole(title, None, tag("main", *inside, class_="narrow"))


def live(title: str, cluster: str, inside: Html, *, every_ms: int) -> str:
    """A page that follows what happens, if scripts may run; else it is as old as it is."""
    header = tag(
        "header",
        tag("a", "Manta", href="/", class_="brand"),
        tag("span", cluster, class_="cluster"),
        tag("span", "As of when it was loaded.", id="live", role="status"),
        tag(
            "form",
            tag("button", "Sign out", type="submit"),
            method="post",
            action="/sign-out",
        ),
    )
    return _whole(title, header, tag("main", inside, id="main", data_every=every_ms), script=True)


def _whole(title: str, header: Html | None, main: Html, *, script: bool = False) -> str:
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        # Browsers would ask for one.
        tag("link", rel="icon", href="data:,"),
        tag("style", raw(_STYLE)),
    )
    end = tag("footer", tag("p", f"Manta {__version__}"))
    body = tag("body", header, main, end, tag("script", raw(_SCRIPT)) if script else None)
    return join(raw("<!doctype html>"), tag("html", head, body, lang="en"))
