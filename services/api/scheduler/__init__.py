"""The scheduler: outbox relay, schedules, feeder, retries, reconciler; safe with several replicas."""
