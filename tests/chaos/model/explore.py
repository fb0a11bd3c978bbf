"""Breadth first through every state; the first that breaks a promise gives the shortest counterexample.

Promises: ``explore`` looks at every state within the scope, or stops at the first broken promise, or at a dead end: a
state from which no work of the system leads to one that is settled. Both come with their trace.
"""

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.chaos.model.promises import broken_promise, settled
from tests.chaos.model.rules import Rules, Scope
from tests.chaos.model.sending import dispatcher_steps
from tests.chaos.model.step import WORK, Step
from tests.chaos.model.surroundings import outside_steps, scheduler_steps
from tests.chaos.model.world import World, canonical, launched


@dataclass(frozen=True, slots=True)
class Counterexample:
    """What does not hold, and the steps that lead there from the launch."""

    broken: str
    steps: tuple[Step, ...]
    last: World

    def __str__(self) -> str:
        lines = [f"{n:3}. {step}" for n, step in enumerate(self.steps, 1)]
        return "\n".join([self.broken, *lines, f"then {self.last}"])


@dataclass(frozen=True, slots=True)
class Explored:
    """What was looked at; ``depth`` is the number of steps to the farthest state."""

    states: int
    steps: int
    depth: int
    counterexample: Counterexample | None = None


def successors(world: World, rules: Rules, scope: Scope) -> Iterator[tuple[Step, World]]:
    """Every next state."""
    for d in range(len(world.hands)):
        yield from dispatcher_steps(world, d, rules, scope)
    yield from scheduler_steps(world, rules, scope)
    yield from outside_steps(world, rules, scope)


def explore(
    rules: Rules, scope: Scope, progress: Callable[[int, int], None] = lambda _states, _depth: None
) -> Explored:
    """Look at every reachable state; ``progress`` hears of states and depth at each new depth."""
    gc.disable()  # millions of tuples without a cycle among them: looking for one takes a third of the time
    try:
        return _explore(rules, scope, progress)
    finally:
        gc.enable()


def _explore(rules: Rules, scope: Scope, progress: Callable[[int, int], None]) -> Explored:
    start = canonical(launched(scope.messages, scope.dispatchers))
    number = {start: 0}
    worlds = [start]
    parents = [0]
    before: list[list[int]] = [[]]  # from which states work leads here
    n_steps, depth, end_of_depth, n = 0, 0, 1, 0
    while n < len(worlds):
        if n == end_of_depth:
            depth, end_of_depth = depth + 1, len(worlds)
            progress(len(worlds), depth)
        for step, after in successors(worlds[n], rules, scope):
            n_steps += 1
            key = canonical(after)
            seen = number.get(key)
            if seen is None:
                seen = number[key] = len(worlds)
                worlds.append(key)
                parents.append(n)
                before.append([])
                if broken := broken_promise(key, scope):
                    trace = _trace(worlds, parents, seen, rules, scope)
                    return Explored(len(worlds), n_steps, depth + 1, Counterexample(broken, *trace))
            if step.kind in WORK:
                before[seen].append(n)
        n += 1
    found = _dead_end(worlds, before)
    if found is not None:
        trace = _trace(worlds, parents, found, rules, scope)
        counterexample = Counterexample("a dead end: nothing that the system does settles it", *trace)
        return Explored(len(worlds), n_steps, depth, counterexample)
    return Explored(len(worlds), n_steps, depth)


def _dead_end(worlds: list[World], before: list[list[int]]) -> int | None:
    """The nearest state from which no settled one can be reached by work."""
    reaches = [settled(world) for world in worlds]
    todo = [n for n, good in enumerate(reaches) if good]
    while todo:
        for n in before[todo.pop()]:
            if not reaches[n]:
                reaches[n] = True
                todo.append(n)
    return next((n for n, good in enumerate(reaches) if not good), None)


def _trace(
    worlds: list[World], parents: list[int], last: int, rules: Rules, scope: Scope
) -> tuple[tuple[Step, ...], World]:
    """The steps to a state, told without the renaming of ``canonical``."""
    path = [last]
    while path[-1]:
        path.append(parents[path[-1]])
    world = launched(scope.messages, scope.dispatchers)
    steps = []
    for n in reversed(path[:-1]):
        step, world = next(one for one in successors(world, rules, scope) if canonical(one[1]) == worlds[n])
        steps.append(step)
    return tuple(steps), world
