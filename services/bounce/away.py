"""Postgres being away is temporary: the belt keeps the work meanwhile.

Promises: inside ``database_may_be_away`` an error that says nothing about the statement becomes ``TemporaryFailure``,
so that the consumer puts the message back; after one of these nothing was changed, or the next try finds it done.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from hayabin.database.engine import AWAY
from hayabin.domain.errors import TemporaryFailure


@contextmanager
def database_may_be_away() -> Iterator[None]:
    """Name the failure for the consumer.

    Raises:
        TemporaryFailure: Postgres is away or had no time.
    """
    try:
        yield
    except AWAY as error:
        raise TemporaryFailure("database_away", repr(error)) from error
