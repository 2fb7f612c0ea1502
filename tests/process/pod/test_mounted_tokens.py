"""A token in a Secret that a kubelet has mounted, as drivers in other pods of the cluster have it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from manta.transport.auth import new_token
from tests.support import pods

#: What a kubelet does: memory, a file of root's for a group, mounted here read-only.
_MOUNT = """set -e
mount -t tmpfs none "$1"
printf %s "$2" > "$1/token"
chmod 0440 "$1/token"
{then}
exec "$3" -c "$4" "$1/token"
"""
_READ = """
import sys
from manta.core.errors import AuthenticationError
from manta.transport.auth import read_token
try:
    print(read_token(sys.argv[1]))
except AuthenticationError as wrong:
    print(wrong)
"""


@pytest.mark.parametrize(("then", "taken"), [('mount -o remount,ro,bind "$1"', True), ("true", False)])
def test_it_is_taken_although_a_group_can_read_it(then, taken, tmp_path):
    """Nobody else has it mounted. The same file where it could be written to is nobody's Secret."""
    pods.need_pods()
    token = new_token()
    words = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        _MOUNT.format(then=then),
        "sh",
        str(tmp_path),
        token,
        sys.executable,
        _READ,
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30)
    assert (done.stdout == f"{token}\n") == taken
    assert ("can be read by others" in done.stdout) != taken
