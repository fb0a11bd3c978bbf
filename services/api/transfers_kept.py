"""How long files that were uploaded or exported are kept, and the rows that an import could not use.

Promises: each statement is whole by itself, and may run in several replicas.
"""

from typing import Final

FORGET_SQL: Final = (
    # uploaded, and never started
    """
    WITH old AS (
        UPDATE import_jobs SET state = 'cancelled', finished_at = now()
        WHERE state = 'preview' AND COALESCE(heartbeat_at, created_at) < now() - interval '1 day' RETURNING id)
    DELETE FROM import_chunks USING old WHERE job_id = old.id""",
    """
    WITH old AS (
        UPDATE export_jobs SET state = 'expired' WHERE state = 'completed' AND expires_at < now() RETURNING id)
    DELETE FROM export_chunks USING old WHERE job_id = old.id""",
    """
    DELETE FROM import_errors USING import_jobs j
    WHERE job_id = j.id AND j.finished_at < now() - interval '30 days'""",
)
