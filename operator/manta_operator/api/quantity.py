"""Kubernetes' quantities: `500m`, `2Gi`, `1e3`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

#: A whole quantity, never negative. As the API server reads it, but for signs and exponents with fractions, which nobody writes.
PATTERN = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][-+]?[0-9]{1,2})?$"
SAYS = 'must be an amount such as "500m", "4" or "2Gi", and not negative'
#: Longest text. Rules that compare need a bound to stay within the API server's budget for them.
LENGTH = 32
#: For `field()`: what fields with quantities have in common.
BOUNDS: Mapping[str, Any] = {"max_length": LENGTH, "pattern": PATTERN, "pattern_says": SAYS}

_PARTS = re.compile(r"([0-9.]+)(.*)")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


def amount(quantity: str) -> Decimal:
    """What a quantity is worth, exactly.

    Raises:
        ValueError: It is none; the text says what one looks like.
    """
    if not re.fullmatch(PATTERN, quantity, re.ASCII):
        raise ValueError(f"{quantity!r} {SAYS}")
    parts = _PARTS.fullmatch(quantity)
    assert parts is not None
    number, suffix = Decimal(parts[1]), parts[2]
    if suffix in _BINARY:
        return number * Decimal(1024) ** _BINARY[suffix]
    if suffix in _DECIMAL:
        return number.scaleb(_DECIMAL[suffix])
    return number.scaleb(int(suffix[1:]))
