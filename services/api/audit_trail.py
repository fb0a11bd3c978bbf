"""Who did what: a line for each change, in the transaction of the change itself.

To be written; called for every operation after it was done, before its commit.
"""

from fastapi import Request, Response

from hayabin.database.engine import Connection


async def note(request: Request, connection: Connection, operation_id: str, response: Response) -> None:
    """Write the line."""
