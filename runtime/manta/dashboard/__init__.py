"""The cluster's HTTP server on its head, role `dashboard`: who is let in, what may be asked, and a table of routes.

`guard` decides about a request by its head alone, `http` performs that around every handler, `connections` bounds who may
connect at all, `control` is the only source of data: control, over gRPC. Nothing here unpickles.

How a module adds its routes: it has one function,

    def add(routes: Routes, context: Context) -> None:
        routes.get("/api/things", things, TokenRole.VIEWER)
        routes.add("POST", "/api/things", make, TokenRole.SUBMITTER, most_bytes=1 << 20)

and `compose.MODULES` names it. A handler is `async def things(request: aiohttp.web.Request) -> aiohttp.web.StreamResponse`; it
reads the cluster through `context.control`, starts long work with `context.tasks`, and raises errors of ours, which `answers`
turns into a status and JSON. There is no route without a role but signing in (`Routes.open`): who forgets one gets an error at
start, and nobody gets in. Pages for people are `pages`; `sessions` are browsers that have signed in, which only read.
"""
