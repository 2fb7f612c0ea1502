"""What a module of routes gets to work with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from manta.aio.supervisor import Supervisor
from manta.dashboard.config import DashboardConfig
from manta.dashboard.control import Control
from manta.dashboard.sessions import Sessions


@dataclass(frozen=True, slots=True)
class Context:
    """What a module of routes gets.

    Attributes:
        config: Settings.
        control: The source of data.
        tasks: Parent of background work.
        sessions: Who has signed in with a browser.
        cookie: Name of the cookie that says so.
        secure: This server speaks TLS.
        stopping: Set when this server ends: answers that go on for days end then.
    """

    config: DashboardConfig
    control: Control
    tasks: Supervisor
    sessions: Sessions
    cookie: str
    secure: bool
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
