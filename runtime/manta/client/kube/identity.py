"""What is shown to an API server: certificates and tokens as they are, from files, or from what an exec plugin prints."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from manta.client.kube.access import Exec, User
from manta.core.errors import KubeconfigError
from manta.core.signals import leave_signals_to_main, take_signals

#: How long a plugin may take: some open a browser and wait for a person.
PLUGIN_S: Final = 300.0
#: After a failure it is left alone for so long: some open a browser each time.
PAUSE_S: Final = 5.0
#: What it printed is not used for the last of its time.
_EARLY: Final = datetime.timedelta(seconds=10)
_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Credential:
    """What to show now.

    Attributes:
        token: A bearer token; empty for none.
        certificate: PEM of a client certificate; empty for none.
        key: Of its key.
        expires: When it is worth nothing any more; None if that is not known.
    """

    token: str = field(default="", repr=False)
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)
    expires: datetime.datetime | None = None


class Identity:
    """A user's credential, made anew when it is over. For one event loop."""

    def __init__(self, user: User) -> None:
        self.user = user
        self._kept: Credential | None = None
        self._asking = asyncio.Lock()
        #: What the plugin failed of, and until when it is left alone.
        self._failure: KubeconfigError | None = None
        self._not_before = 0.0

    @property
    def renewable(self) -> bool:
        """Whether another try can show something else: after a refusal it is worth one."""
        return self.user.plugin is not None or bool(self.user.token_file)

    def forget(self) -> None:
        """What was shown is not believed: the next credential is a new one."""
        self._kept = None

    async def credential(self) -> Credential:
        """What to show now.

        Raises:
            KubeconfigError: A file cannot be read, or the plugin failed.
        """
        user = self.user
        if user.plugin is None:
            token = _token_of(user.token_file) if user.token_file else user.token
            return Credential(token, user.certificate, user.key)
        async with self._asking:  # several who find it expired run the plugin once
            if self._kept is None or is_over(self._kept, datetime.datetime.now(datetime.UTC)):
                self._kept = await self._made(user.plugin)
            made = self._kept
        if made.certificate:
            return made
        return Credential(made.token, user.certificate, user.key)

    async def _made(self, plugin: Exec) -> Credential:
        if self._failure is not None and time.monotonic() < self._not_before:
            raise self._failure
        try:
            return await asyncio.to_thread(_run_in_thread, plugin, self.user.name)
        except KubeconfigError as failure:
            self._failure, self._not_before = failure, time.monotonic() + PAUSE_S
            raise


def _run_in_thread(plugin: Exec, user: str) -> Credential:
    take_signals()  # its children inherit what this thread blocks, and they are to end with Ctrl-C
    try:
        return run(plugin, user)
    finally:
        leave_signals_to_main()


def is_over(credential: Credential, now: datetime.datetime) -> bool:
    """Whether it should not be shown any more."""
    return credential.expires is not None and now >= credential.expires - _EARLY


def run(plugin: Exec, user: str) -> Credential:
    """Have a plugin print a credential. Blocks.

    Raises:
        KubeconfigError: It is not installed, failed, or printed something else.
    """
    what = f"the exec plugin {plugin.command!r} of user {user!r}"
    asks = plugin.interactive != "Never" and sys.stdin is not None and sys.stdin.isatty()
    if plugin.interactive == "Always" and not asks:
        raise KubeconfigError(f"{what} wants to ask its user, and there is no terminal: log in with it first")
    info = {
        "kind": "ExecCredential",
        "apiVersion": plugin.api_version,
        "spec": {"interactive": asks, **({"cluster": plugin.cluster} if plugin.cluster is not None else {})},
    }
    environment = {**os.environ, **dict(plugin.env), "KUBERNETES_EXEC_INFO": json.dumps(info)}
    try:
        ended = subprocess.run(
            [plugin.command, *plugin.args],
            stdin=None if asks else subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # what it has to say to people it says on stderr, which stays ours
            env=environment,
            timeout=PLUGIN_S,
            check=False,
        )
    except FileNotFoundError:
        hint = f": {plugin.install_hint.strip()}" if plugin.install_hint else ""
        raise KubeconfigError(f"{what} is not installed{hint}") from None
    except subprocess.TimeoutExpired:
        raise KubeconfigError(f"{what} did not end within {PLUGIN_S:.0f} s") from None
    except OSError as wrong:
        raise KubeconfigError(f"{what} cannot be run: {wrong.strerror}") from wrong
    if ended.returncode:
        raise KubeconfigError(
            f"{what} failed with status {ended.returncode}; run it by hand: {' '.join(plugin.args)!r:.300}"
        )
    return printed(ended.stdout, plugin.api_version, what)


def printed(output: bytes, api_version: str, what: str) -> Credential:
    """The credential that a plugin printed.

    Raises:
        KubeconfigError: It is none.
    """
    try:
        value = json.loads(output[:_MOST_BYTES])
        status: Mapping[str, Any] = value["status"]
        token, certificate, key, expires = map(
            status.get, ("token", "clientCertificateData", "clientKeyData", "expirationTimestamp")
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise KubeconfigError(f"{what} printed something else than an ExecCredential with a status") from None
    if value.get("kind") != "ExecCredential" or value.get("apiVersion") != api_version:
        raise KubeconfigError(
            f"{what} printed {value.get('kind')!r:.50} of {value.get('apiVersion')!r:.100}, not an ExecCredential of "
            f"{api_version}"
        )
    texts = (token, certificate, key)
    if not all(isinstance(one, str) or one is None for one in texts) or bool(certificate) != bool(key):
        raise KubeconfigError(f"{what} printed half of a certificate and its key, or no texts")
    if not token and not certificate:
        raise KubeconfigError(f"{what} printed neither a token nor a certificate")
    until = None
    if expires:
        try:
            until = datetime.datetime.fromisoformat(str(expires))
        except ValueError:
            raise KubeconfigError(f"{what} printed no time as expirationTimestamp: {expires!r:.50}") from None
        until = until if until.tzinfo else until.replace(tzinfo=datetime.UTC)
    return Credential((token or "").strip(), (certificate or "").encode(), (key or "").encode(), until)


def _token_of(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            token = file.read(_MOST_BYTES).strip()
    except (OSError, UnicodeDecodeError) as wrong:
        raise KubeconfigError(
            f"the token file {path} cannot be read: {getattr(wrong, 'strerror', None) or 'it is not plain text'}"
        ) from wrong
    if not token or not token.isprintable():
        raise KubeconfigError(f"the token file {path} holds no token")
    return token
