"""Which failures are the database's trouble: everybody who waits for it must know all of them."""

import asyncpg
import pytest

from hayabin.database.engine import AWAY
from services.api.scheduler.main import _EXPECTED
from services.dispatcher.gate import DATABASE_AWAY
from services.dispatcher.outcomes import _REFUSED

TROUBLE = [
    ConnectionRefusedError(),
    TimeoutError(),
    asyncpg.CannotConnectNowError("starting up"),
    asyncpg.DiskFullError("no room"),
    asyncpg.ReadOnlySQLTransactionError("a standby"),
    asyncpg.InterfaceError("the connection is closed"),
    # What asyncpg raises where the connection ends while a statement is being sent: it ended gates and duties once.
    asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
]


@pytest.mark.parametrize("error", TROUBLE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("known", [AWAY, DATABASE_AWAY, _EXPECTED], ids=["engine", "gate", "scheduler"])
def test_trouble_of_the_database_is_waited_for(error: Exception, known: tuple[type[Exception], ...]) -> None:
    """Proves that none of these ends a process, parks a message or counts as a fault of ours."""
    assert isinstance(error, known)


@pytest.mark.parametrize("error", TROUBLE, ids=lambda error: type(error).__name__)
def test_trouble_of_the_database_refuses_no_outcome(error: Exception) -> None:
    """Proves that an outcome is not given up because the connection ended while it was written."""
    assert not isinstance(error, _REFUSED)
