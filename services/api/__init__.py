"""The API: REST under /v1 (``serve``) and the scheduler, two processes of one image."""
