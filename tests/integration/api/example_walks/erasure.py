"""The operations of this part, done in an order that works with the documented requests."""

from services.api.people_jobs.runner import run_next_person_job
from tests.integration.api.example_walks.walk import Walk


async def take(walk: Walk) -> None:
    """Do each operation once."""
    await walk.does("checkCampaign")
    erasure = await walk.does("erasePerson")
    export = await walk.does("exportPerson")
    while await run_next_person_job(walk.database, "test"):
        pass
    await walk.does("listPersonJobs")
    walk.ids["person_job_id"] = erasure["id"]
    for name in ("getPersonJob", "getErasureCertificate", "getErasureCertificateText"):
        await walk.does(name)
    walk.ids["person_job_id"] = export["id"]
    await walk.does("downloadPersonExport")
