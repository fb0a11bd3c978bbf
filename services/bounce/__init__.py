"""The bounce service: takes DSN and feedback-loop mail, and finds the attempt that each is about."""
