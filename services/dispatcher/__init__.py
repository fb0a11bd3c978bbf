"""The dispatcher: delivers rendered mail from its own source IPs, each transaction through the gate."""
