"""The operator as a process before a real API server: what it makes of a MantaCluster, and what nobody can make it do."""
