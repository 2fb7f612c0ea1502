"""Names of the files in a folder of credentials. Apart, as who only names them need not load what reads them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

#: The cluster's name in its certificates.
CLUSTER_FILE: Final = "cluster"
#: The authority's certificate, two while it is changed; and its key, on whoever makes certificates alone.
AUTHORITY: Final = "ca.crt"
AUTHORITY_KEY: Final = "ca.key"
#: What nodes show.
JOIN_TOKEN: Final = "join.token"  # noqa: S105 - a file's name
#: Tokens of people and programs, with their roles; and the one of them that drivers outside are given.
TOKENS: Final = "tokens"
DRIVER_TOKEN: Final = "driver.token"  # noqa: S105 - a file's name
