"""Where a container finds its volumes."""

from __future__ import annotations

import os
from dataclasses import dataclass

from manta.core.errors import SettingError

#: Longest name of the session's folder: what is below it are Unix sockets, whose paths have 107 bytes.
_MOST_NAME = 30


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of a container; the same paths in each container of a pod.

    Attributes:
        secret: The mounted Secret: a folder of credentials as the kubelet lays it out.
        private: For this container's copies of it. The same path everywhere, as a raylet tells its processes where it is.
        run: Shared by gateway, dashboard and raylet: sockets and logs.
        state: Control's, kept when the pod is replaced.
        tmp: Anything else.
    """

    secret: str = "/etc/manta/credentials"  # noqa: S105 - a folder's name
    private: str = "/run/manta-private"
    run: str = "/run/manta"
    state: str = "/var/lib/manta"
    tmp: str = "/tmp"  # noqa: S108 - a volume of the pod's own

    @property
    def credentials(self) -> str:
        """A link to the copies that are valid now. Its folder is made here: a volume itself is root's."""
        return os.path.join(self.private, f"manta-{os.getuid()}", "credentials")

    def session(self, cluster: str) -> str:
        """The folder that a pod's containers share; where the tools look for one if MANTA_TMPDIR is `run`."""
        return os.path.join(self.run, f"manta-{os.getuid()}", cluster[:_MOST_NAME])

    def control_session(self) -> str:
        """Control's own."""
        return os.path.join(self.tmp, f"manta-{os.getuid()}", "control")


def make_private(path: str) -> None:
    """Make a folder that only this user may enter, and those above it.

    Raises:
        SettingError: It cannot be made, or is somebody else's.
    """
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        status = os.stat(path)
    except OSError as wrong:
        expected = f"a volume that user {os.getuid()} may write to ({wrong.strerror})"
        raise SettingError("a folder of this container", path, expected) from wrong
    if status.st_uid != os.getuid():
        raise SettingError(
            "a folder of this container",
            path,
            f"a folder of user {os.getuid()}; it is user {status.st_uid}'s: all containers of a pod run as one user",
        )
    if status.st_mode & 0o077:
        os.chmod(path, 0o700)
