"""The keys of a policy, for people and for the OpenAPI document.

Promises: what each key means stands here, once; its type, its default and the values of enums come from the domain, and
a test holds the keys against it. What is refused is decided by ``hayabin.domain.policy`` alone.
"""

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from hayabin.domain.policy import Policy
from hayabin.domain.reply_rules import ReplyRule

KEYS: dict[str, str] = {
    "connections": "Connections open at the same time, at the most, from one source IP",
    "connections_start": "Connections open at the same time in the beginning; more are opened while replies are good",
    "growth_mails": "Accepted mails after which one more connection is allowed",
    "connection_spacing_s": "Seconds from the begin of one connection to the next one's",
    "messages_per_connection": "Mails begun on one connection; then it is closed",
    "recipients_per_session": "RCPT commands on one connection",
    "rate_per_s": "Messages begun in a second, from one source IP",
    "burst": "Messages that may begin at once after a pause, where rate_per_s is set",
    "rate_per_min": "Messages begun in any span of a minute",
    "rate_per_h": "Messages begun in any span of an hour",
    "rate_per_day": "Messages begun on a day (UTC), over restarts too",
    "recovery_s": "After being slowed: seconds without a bad reply until the lane is twice as fast",
    "quiet_before_hour_s": "Bulk mail does not begin in the last seconds before a full hour",
    "quiet_after_hour_s": "Bulk mail does not begin in the first seconds after a full hour",
    "connect_timeout_s": "Seconds to open the TCP connection",
    "greeting_timeout_s": "Seconds to the server's greeting (RFC 5321 §4.5.3.2.1)",
    "command_timeout_s": "Seconds to the reply to MAIL and to RCPT (RFC 5321 §4.5.3.2.2, §4.5.3.2.3)",
    "data_timeout_s": "Seconds to the reply to DATA (RFC 5321 §4.5.3.2.4)",
    "block_timeout_s": "Seconds for a block of the content (RFC 5321 §4.5.3.2.5)",
    "dot_timeout_s": "Seconds to the reply to the final dot (RFC 5321 §4.5.3.2.6)",
    "tls": "STARTTLS, where neither DANE nor MTA-STS says more: not used, used where offered, or no mail without it",
    "dotted_local_part": "How a local part with dots in a row, in front or at the end goes over the wire",
    "retry_delays_s": "Seconds after the first, second, … attempt until the next one; the last one repeats",
    "ipv6": "Whether IPv6 source IPs may be used",
    "ipv6_overrides": "Limits that hold for IPv6 source IPs instead; keys as here",
    "rules": "Reply rules, looked at in order before the shipped ones; one of the same name replaces the shipped one",
    "disabled_rules": "Names of shipped rules that do not hold",
}

RULE_KEYS: dict[str, str] = {
    "name": "Small letters, digits and hyphens",
    "code": "Regular expression for the whole of the reply code, such as `421` or `4..`",
    "enhanced": "Regular expression for the whole of the enhanced code, such as `4\\.7\\.28`",
    "text": "Regular expression that is searched for in the reply's text, without regard to case",
    "phases": "Where in the session; anywhere if left out",
    "example": "A reply that the rule matches",
    "source": "Where this is documented, or who observed it and when",
    "after": "Slow or suspend only at so many matches within within_s",
    "within_s": "Seconds in which the matches of after are counted",
    "slow_to": "The part of the usual speed that is left to the lane, such as 0.5",
    "suspend_lane_s": "Seconds for which this provider gets no mail from this source IP",
    "suspend_source_s": "Seconds for which this source IP sends nothing at all",
    "treat": "What becomes of the mail, where that differs from what the code says",
    "other_ip": "Whether the mail is tried again soon by another IP of the pool",
}


def _schema_of(kind: Any) -> dict[str, Any]:
    """The JSON schema of a type of the domain."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return _schema_of(next(choice for choice in arguments if choice is not NoneType))
    if origin in (tuple, frozenset):
        return {"type": "array", "items": _schema_of(arguments[0])}
    if origin is Mapping:
        return {"type": "object"}
    if kind is ReplyRule:
        return RULE_SCHEMA
    if origin is re.Pattern:
        return {"type": "string", "format": "regex"}
    if issubclass(kind, StrEnum):
        return {"type": "string", "enum": [member.value for member in kind]}
    return {"type": {bool: "boolean", int: "integer", float: "number", str: "string"}[kind]}


def _object_of(kind: Any, keys: dict[str, str], more: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a dataclass of the domain whose members are explained by ``keys``."""
    types = {**get_type_hints(kind), **more}
    defaults = {field.name: field.default for field in fields(kind)}
    members = {}
    for name, text in keys.items():
        members[name] = {"description": text, **_schema_of(types[name])}
        default = defaults.get(name, MISSING)
        if isinstance(default, (bool, int, float, str)):
            members[name]["default"] = default
    return {"type": "object", "properties": members, "additionalProperties": False}


RULE_SCHEMA: dict[str, Any] = {
    **_object_of(ReplyRule, RULE_KEYS, {}),
    "required": ["name", "code", "example", "source"],
}
POLICY_SCHEMA: dict[str, Any] = _object_of(Policy, KEYS, {"disabled_rules": tuple[str, ...]})
"""What PUT /v1/policies/{provider} takes; ``default`` is what holds where no file and no override says otherwise."""
