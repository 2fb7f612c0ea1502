"""The command line: `manta start`, `manta status`, `manta stack`, `manta stop`. One file per command, each with `add` and `run`.

Here are arguments, texts and exit codes. What commands ask goes over the channel as a tool (`tool`); a tool only asks, so nothing
here can hold up the cluster it looks at. How `manta start` starts processes is in `launching`; how embedded clusters start, and
where both leave their notes, is `manta.api.embedded`'s.
"""

from manta.cli.program import main

__all__ = ["main"]
