"""A model of what the operator meets, in memory and on a clock that is turned by hand: an API server with versions and late
watches, kubelets and nodes that fail, control with its drains. The decision under test is the real one."""
