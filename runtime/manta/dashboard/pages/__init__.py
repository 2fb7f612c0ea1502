"""Pages for people: an overview of the cluster and a page per job, made here and shown without anything from elsewhere.

What is shown: `facts` (plain values), `look` (asks for them, while somebody looks). How: `html` (everything is escaped),
`overview` with its sections (`nodes`, `tasks`, `actors`, `jobs`), `job` and `log_text`, `document` (style, script and the policy
that allows these alone). Who sees it: `signing` and `doors` (signing in); `routes` has the rest. Who is let in at all is the
server's `guard`; `sessions` are beside it.

Pages work by reloading; `page.js` saves that. Nothing here changes anything: a browser's session only reads.
"""

from __future__ import annotations

from manta.dashboard.context import Context
from manta.dashboard.pages import routes, signing
from manta.dashboard.routes import Routes


def add(table: Routes, context: Context) -> None:
    """Every page."""
    signing.add(table, context)
    routes.add(table, context)
