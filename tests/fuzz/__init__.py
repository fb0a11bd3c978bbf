"""Parsers of untrusted text fed with inputs made from the corpus; ``python -m tests.fuzz`` or ``make fuzz``.

``targets.TARGETS`` has what is fed: a new parser is one entry there.
"""
