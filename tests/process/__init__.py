"""Tests that start real processes: drivers, control, raylet, factory, workers.

Test modules import each other relatively, so that they load under every import mode of pytest.
"""
