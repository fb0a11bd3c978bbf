"""What a process tells about itself: traces, metrics, logs."""
