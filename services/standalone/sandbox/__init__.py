"""The bundled receiving world, on loopback alone: mail servers of the recipients' providers, their DNS, a mailbox page.

It answers for every domain, so that no mail of a demo can leave the machine, and it writes a journal of its own,
against which Hayabin's reports are checked.
"""
