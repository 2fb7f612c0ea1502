"""`manta status`, `manta stack` and `manta stop` against real clusters."""
