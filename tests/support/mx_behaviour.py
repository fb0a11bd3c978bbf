"""What the scripted MX does to a recipient or a session, each in one line of words.

A line is one or more behaviours joined by ``;``::

    accept
    greylist 2                          the first 2 tries of each recipient get 451 4.7.1
    defer 1 rcpt 421 4.3.2 busy         the first try gets this reply at that stage, then accept
    reject dot 552 5.2.2 mailbox full   this reply at that stage, always
    drop dot journalled                 keep the mail, close without a reply   (without the word: do not keep it)
    drop data                           close instead of answering
    stall rcpt                          never answer
    shout rcpt 1000000                  answer with a line of so many bytes
    drone rcpt 1000000                  answer with a reply of so many bytes, in many lines
    babble mail                         answer with what is no SMTP reply
    slow 0.05                           wait so many seconds before each reply

Words that hold for the session: see ``scripted_mx``; and for servers that do not keep what they offer in EHLO::

    hasty-503                           commands that came before the last reply get 503
    hasty-554                           they get 554, and the connection is closed
    hasty-forget                        they are forgotten
    no-parameters                       MAIL with any parameter gets 555

Stages: connect ehlo starttls mail rcpt data dot. Fails with ``ValueError`` for a line that it does not understand.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase

STAGES = ("connect", "ehlo", "starttls", "mail", "rcpt", "data", "dot")
SESSION_WORDS = frozenset(
    {"starttls", "no-pipelining", "no-8bitmime", "no-size", "smtputf8", "split", "lf", "helo-only"}
    | {"hasty-503", "hasty-554", "hasty-forget", "no-parameters"}
)
NUMBER_WORDS = frozenset({"close-after", "size"})


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One deviation from accepting: ``verb`` at ``stage``; ``times`` 0 = always; ``text`` is the reply."""

    verb: str
    stage: str = ""
    times: int = 0
    text: str = ""
    number: float = 0.0


@dataclass(frozen=True, slots=True)
class Rule:
    """Recipients that match ``pattern`` meet ``behaviours``."""

    pattern: str
    behaviours: tuple[Behaviour, ...]

    def fits(self, address: str) -> bool:
        """Tell whether the rule is for this address: a full address, ``local@``, a domain, or a glob of these."""
        pattern = self.pattern
        if pattern.endswith("@"):
            pattern += "*"
        elif "@" not in pattern and pattern != "*":
            pattern = f"*@{pattern}"
        return fnmatchcase(address.lower(), pattern.lower())


def parse_line(line: str) -> tuple[Behaviour, ...]:
    """Parse one line of behaviours."""
    return tuple(_parse(part.split()) for part in line.split(";") if part.strip() not in ("", "accept"))


def parse_rules(recipients: dict[str, str]) -> tuple[Rule, ...]:
    """Parse a table of pattern: line; the first pattern that fits a recipient decides."""
    return tuple(Rule(pattern, parse_line(line)) for pattern, line in recipients.items())


def _parse(words: list[str]) -> Behaviour:
    match words:
        case ["greylist", times]:
            return Behaviour("reply", "rcpt", int(times), "451 4.7.1 Greylisted, come again later")
        case ["defer", times, stage, *text] if stage in STAGES and text:
            return Behaviour("reply", stage, int(times), " ".join(text))
        case ["reject", stage, *text] if stage in STAGES and text:
            return Behaviour("reply", stage, 0, " ".join(text))
        case ["drop", "dot", "journalled"]:
            return Behaviour("drop", "dot", text="journalled")
        case ["drop" | "stall" | "babble" as verb, stage] if stage in STAGES:
            return Behaviour(verb, stage)
        case ["shout" | "drone" as verb, stage, size] if stage in STAGES:
            return Behaviour(verb, stage, number=int(size))
        case ["slow", seconds]:
            return Behaviour("slow", number=float(seconds))
        case [word] if word in SESSION_WORDS:
            return Behaviour(word)
        case [word, number] if word in NUMBER_WORDS:
            return Behaviour(word, number=int(number))
        case _:
            raise ValueError(f"no such behaviour: {' '.join(words)}")
