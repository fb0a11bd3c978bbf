"""Each mutation of the real code is found by the promise that it breaks, and nothing is found where there is none."""

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.chaos.mutations import (
    HASTE,
    MUTATIONS,
    ROOT,
    SCENARIOS,
    Edit,
    EditUnfit,
    Mutation,
    copied,
    edited,
    found,
    small_world,
    tried,
)
from tests.chaos.scenario import Result
from tests.chaos.world import ChaosWorld
from tests.support.system import System

BY_NAME = [pytest.param(mutation, id=mutation.name) for mutation in MUTATIONS]
TRIED_HERE = BY_NAME[:4]
"""The promises that everything else stands on; ``make chaos`` tries all of them."""
SCENARIOS_HERE = [scenario for scenario in SCENARIOS if scenario in {mutation.scenario for mutation in MUTATIONS[:4]}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[ChaosWorld]:
    """One small world for all of them."""
    async with small_world() as world:
        yield world


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("scenario", SCENARIOS_HERE, ids=lambda scenario: scenario.__name__)
async def test_scenario_without_a_mutation_holds_every_promise(
    world: ChaosWorld, scenario: Callable[[ChaosWorld], Awaitable[Result]]
) -> None:
    """Proves that what the mutations are found by is found only because of them."""
    assert (await scenario(world)).broken == []


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("mutation", TRIED_HERE)
async def test_mutation_is_found_by_the_promise_that_it_breaks(world: ChaosWorld, mutation: Mutation) -> None:
    """Proves that the suite would see this fault if somebody made it."""
    result = await tried(world, mutation)
    assert found(mutation, result), result.broken


@pytest.mark.parametrize("mutation", BY_NAME)
def test_edits_of_a_mutation_fit_the_code(mutation: Mutation) -> None:
    """Proves, in no time, that a change of the code has not made a mutation something else."""
    for edit in (*HASTE, *mutation.edits):
        source = (ROOT / edit.path).read_text(encoding="utf-8")
        assert edited(source, edit) != source


@pytest.mark.parametrize(("source", "times"), [("", 0), ("x = 1\nx = 1\n", 2)])
def test_edit_that_does_not_fit_once_is_refused(source: str, times: int) -> None:
    """Proves that a mutation which no longer says what it breaks fails, and names the place."""
    with pytest.raises(EditUnfit, match=rf"there.py: stands there {times} times, not once: 'x = 1'"):
        edited(source, Edit("there.py", "x = 1", "x = 2"))


@pytest.mark.parametrize("broken", [[], ["nothing is sent twice: 3"]])
def test_mutation_found_by_another_promise_is_not_found(broken: list[str]) -> None:
    """Proves that a scenario which fails for another reason does not count."""
    lost = dataclasses.replace(MUTATIONS[0], breaks="nothing is lost")
    assert not found(lost, Result("x", broken=broken))
    assert found(lost, Result("x", broken=[*broken, "nothing is lost: 1"]))


@pytest.mark.parametrize("kind", ["scheduler", "dispatcher"])
def test_services_run_the_copy_and_not_the_code_beside_it(tmp_path: Path, kind: str) -> None:
    """Proves that the copy is imported, although the repository is on the interpreter's path as well."""
    edit = Edit("hayabin/crash_points.py", "_armed: dict[CrashPoint, int] = {}", "raise RuntimeError('of the copy')")
    with copied([edit]) as tree:
        service = System(tmp_path, {}, code=tree).launch(kind)
        assert service.process.wait(60) == 1
        assert f"{tree}/hayabin/crash_points.py" in service.tail()
        assert "RuntimeError: of the copy" in service.tail()
