"""A model of gate, belt, outcomes and reconciler, of which every reachable state is looked at.

The states and moves are those of ``hayabin.domain.message``; the rest is written down here a second time, small enough
to try every interleaving of a few messages with crashes, losses, redeliveries and lost answers. ``python -m
tests.chaos.model`` explores more than the tests do.
"""
