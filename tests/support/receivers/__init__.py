"""Real receiving mail servers on loopback: Postfix, Exim, OpenSMTPD and Haraka, each with a journal of what it keeps.

``running.running_receivers`` starts them. The software comes from ``scripts/receivers``; nothing of it is installed.
"""
