"""`init` of a test goes through a gateway: the same tests, a driver outside.

`install()` changes where `init` connects to: whatever cluster it starts or joins, a gateway is started beside its raylet, and the
driver joins through that. Drivers in processes of their own are started as `python -m tests.support.through_gateway script`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support import gateway

if TYPE_CHECKING:
    from manta.client.session import Session

#: Set where `init` shall go through a gateway.
VARIABLE = "MANTA_TEST_GATEWAY"


def wanted() -> bool:
    """Whether this run is through a gateway."""
    return os.environ.get(VARIABLE, "") not in ("", "0")


_prepared: tuple[Path, str, str] | None = None


def _files(folder: Path) -> tuple[str, str]:
    """Certificates and tokens, made once per process and then copied: making them costs more than the rest."""
    global _prepared
    if _prepared is None:
        source = Path(tempfile.mkdtemp(prefix="manta-gateway-files-", dir="/tmp"))
        _prepared = (source, *gateway.prepare(source))
        import atexit

        atexit.register(shutil.rmtree, source, ignore_errors=True)
    for file in _prepared[0].iterdir():
        shutil.copy2(file, folder / file.name)
    return _prepared[1], _prepared[2]


def warm_up() -> None:
    """Have grpc make the threads and descriptors it keeps for the life of a process, before a test's leaks are looked for."""
    import grpc

    with grpc.insecure_channel("127.0.0.1:1") as channel, contextlib.suppress(grpc.RpcError):
        call: Any = channel.unary_unary("/none/None")
        call(b"", timeout=2)


def install() -> None:
    """From now on."""
    from manta.api import init as module
    from manta.api.driver import connect_outside
    from manta.client import current

    doors: list[gateway.Door] = []

    def connect(options: Any, raylet: str) -> Session:
        folder = Path(tempfile.mkdtemp(prefix="manta-gateway-"))
        try:
            viewer, submitter = _files(folder)
            door = gateway.launch(folder, raylet, viewer, submitter)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        doors.append(door)
        kept = {name: os.environ.get(name) for name in ("MANTA_TOKEN", "MANTA_CA_FILE")}
        os.environ.update({name: door.environment[name] for name in kept})
        try:
            session = connect_outside(options, door.address)
        finally:
            for name, text in kept.items():
                if text is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = text
        current.session = session
        close = session.close

        def close_both() -> None:
            try:
                close()
            finally:
                if door in doors and session.pid == os.getpid():
                    doors.remove(door)
                    try:
                        gateway.stop(door)
                    finally:
                        shutil.rmtree(folder, ignore_errors=True)

        session.close = close_both  # type: ignore[method-assign]
        return session

    module._connect = connect


def main() -> None:
    """Run a script as a driver outside."""
    install()
    from manta.compat.__main__ import main as run

    run()


if __name__ == "__main__":
    main()
