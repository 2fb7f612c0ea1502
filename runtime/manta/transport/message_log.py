"""Numbered messages over connections that break: nothing lost, nothing twice, and no more kept than a bound.

Both sides of a driver's connection through the gateway have one `MessageLog` each. Pure: bytes in, numbers out; what carries them
is the callers' business.
"""

from __future__ import annotations

from collections import deque

from manta.core.errors import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manta.transport.message_data import WithData

#: Bytes that were sent and that the other side has not said to have, above which nothing more is sent.
WINDOW_BYTES = 16 << 20

#: After so many bytes, or messages, that came, the other side is told although there is nothing else to say.
ACKNOWLEDGE_BYTES = WINDOW_BYTES // 8
ACKNOWLEDGE_MESSAGES = 256

#: What a message costs beside its bytes: many small ones are bounded too.
MESSAGE_BYTES = 200


class MessageLog:
    """One side's end: what it has sent and may have to send again, and what has come."""

    def __init__(self, window_bytes: int = WINDOW_BYTES) -> None:
        self._window_bytes = window_bytes
        #: Sent and not acknowledged, in order; the last has the number `sent`.
        self._kept: deque[Any] = deque()
        self._kept_bytes = 0
        #: Number of the newest message sent.
        self.sent = 0
        #: Number of the newest that came: all before it came too.
        self.received = 0
        self._unsaid_bytes = 0
        self._unsaid = 0

    @property
    def full(self) -> bool:
        """The other side is behind: send nothing more for now."""
        return self._kept_bytes >= self._window_bytes

    @property
    def kept_bytes(self) -> int:
        """What is kept in case it has to be sent again."""
        return self._kept_bytes

    # -- sending

    def next_number(self) -> int:
        """Number of the message that `add` will take next; whoever encodes it says `received` in it as well."""
        self._unsaid_bytes = self._unsaid = 0
        return self.sent + 1

    def add(self, message: bytes | WithData) -> None:
        """A message is sent. More than fits the window is taken all the same: the caller looks at `full` first."""
        self.sent += 1
        self._kept.append(message)
        self._kept_bytes += len(message) + MESSAGE_BYTES

    def acknowledged(self, number: int) -> bool:
        """The other side has everything up to `number`; whether that made room in a full window.

        Raises:
            ProtocolError: It says to have what was never sent.
        """
        if number > self.sent:
            raise ProtocolError(
                f"the other side says to have message {number}, and {self.sent} is the last that was sent"
            )
        full = self._kept_bytes >= self._window_bytes
        kept = self._kept
        # Numbers that come late, on a message sent again, are lower than what is known: nothing to do.
        for _ in range(number - (self.sent - len(kept))):
            self._kept_bytes -= len(kept.popleft()) + MESSAGE_BYTES
        return full and self._kept_bytes < self._window_bytes

    # -- receiving

    def take(self, number: int, size_bytes: int) -> bool:
        """A message came; whether it is new. One that came before is to be ignored.

        Raises:
            ProtocolError: One before it is missing.
        """
        if number <= self.received:
            return False
        if number != self.received + 1:
            raise ProtocolError(f"message {number} came, {self.received + 1} was next")
        self.received = number
        self._unsaid_bytes += size_bytes
        self._unsaid += 1
        return True

    @property
    def should_acknowledge(self) -> bool:
        """So much came that the other side should hear of it now."""
        return self._unsaid_bytes >= ACKNOWLEDGE_BYTES or self._unsaid >= ACKNOWLEDGE_MESSAGES

    def said(self) -> None:
        """The other side was told of `received`."""
        self._unsaid_bytes = self._unsaid = 0

    # -- a new connection

    def resume(self, received: int) -> list[Any]:
        """The other side has everything up to `received`: what to send again, in order, before anything new.

        Raises:
            ProtocolError: It lacks what it said to have, or has what was never sent.
        """
        first = self.sent - len(self._kept)
        if received < first:
            raise ProtocolError(f"the other side lacks message {received + 1}, and said before to have it")
        self.acknowledged(received)
        self.said()
        return list(self._kept)
