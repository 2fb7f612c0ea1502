"""The charts, their values, dashboards and alerts, and the pages that name them."""
