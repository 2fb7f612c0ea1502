"""Placement groups: bundles of resources held on nodes together, in two phases.

- `model`: a group as a value.
- `packing`: which node each bundle goes to, pure.
- `table`: the groups and what becomes of them.

What a group's tasks and actors may do is not here: a bundle is a resource of its node, see `core/bundles.py`.
"""
