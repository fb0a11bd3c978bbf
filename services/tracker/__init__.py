"""The tracker: opens, clicks and unsubscribes by HTTP, and their way over the belt into Postgres."""
