"""Moments as Kubernetes writes them. Seconds are enough: so does Kubernetes."""

from __future__ import annotations

import datetime
import math


def written(at: float) -> str:
    """Seconds since 1970 as RFC 3339."""
    moment = datetime.datetime.fromtimestamp(math.floor(at), datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def read(text: str | None) -> float | None:
    """The same back; None for nothing, and for what is no moment."""
    if text is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
