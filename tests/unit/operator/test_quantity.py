"""Kubernetes' quantities."""

from __future__ import annotations

from decimal import Decimal

import pytest

from manta_operator.api.quantity import amount


@pytest.mark.parametrize(
    ("text", "worth"),
    [
        ("0", "0"),
        ("4", "4"),
        ("500m", "0.5"),
        ("1.5", "1.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("2k", "2000"),
        ("2Ki", "2048"),
        ("1.5Gi", "1610612736"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("1E", "1000000000000000000"),
        ("1Ei", "1152921504606846976"),
        ("12e-1", "1.2"),
        ("100n", "0.0000001"),
    ],
)
def test_a_quantity_is_worth_what_kubernetes_says(text, worth):
    """Exactly, whatever the suffix."""
    assert amount(text) == Decimal(worth)


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1 Gi", "Gi", "1gi", "1e", "0x1", "1Kii", "1_000", "NaN", ".", "\u0661", "1\n"]
)
def test_what_is_no_quantity_is_refused(text):
    """Negative ones too: nothing of ours can be less than nothing."""
    with pytest.raises(ValueError, match="must be an amount such as"):
        amount(text)
