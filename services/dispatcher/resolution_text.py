"""A resolution as text for people.

Promises: all that is in the answer and matters to a person is there, one thing a line, with units; times are UTC. It
cannot fail for what ``resolution`` gives.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

_Answer = Mapping[str, Any]
_TIMES_A_LINE: Final = 4
_LIMITS: Final = (
    ("messages_per_connection", "messages on a connection"),
    ("recipients_per_session", "recipients on a connection"),
    ("rate_per_s", "messages a second"),
    ("rate_per_min", "messages a minute"),
    ("rate_per_h", "messages an hour"),
    ("rate_per_day", "messages a day"),
)


def as_text(answer: _Answer) -> Iterator[str]:
    """Give the lines."""
    yield from _address(answer["address"])
    if "route" in answer:
        yield from _route(answer["route"], answer.get("mta_sts"))
        yield from _lane(answer)
    if "policy" in answer:
        yield from _policy(answer["policy"])
        yield from _retries(answer["retries"])
    yield from _sources(answer)
    if answer.get("suppressed"):
        yield _line("Suppressed", _suppressed(answer["suppressed"]))
    if answer.get("unknown"):
        yield _line("Not known", f"{', '.join(answer['unknown'])} (HAYABIN_DATABASE_URL is not set)")
    yield _line("Sent", _when(answer))


def _line(name: str, text: str) -> str:
    return f"{name + ':':<12}{text}"


def _more(text: str) -> str:
    return f"{'':<12}{text}"


def _address(address: _Answer) -> Iterator[str]:
    yield _line("Address", address["given"])
    if "refused" in address:
        yield _more(f"refused: {address['refused']}: {address['detail']}")
        return
    yield _more(f"RCPT TO:<{address['wire']}>")
    yield _more(f"compared as {address['key']}")
    mobile = ", of a Japanese mobile carrier" if address["japanese_mobile"] else ""
    yield _more(f"domain {address['domain']}{mobile}")
    if address["needs_smtputf8"]:
        yield _more("needs a server with SMTPUTF8")


def _route(route: _Answer, sts: _Answer | None) -> Iterator[str]:
    if route["problem"] is not None:
        yield _line("MX", route["problem"])
        return
    for number, host in enumerate(route["hosts"]):
        text = f"{host['preference']} {host['name']}: {', '.join(host['addresses'])}"
        yield _more(text) if number else _line("MX", text)
        yield _more(f"  {'DNSSEC' if host['dnssec'] else 'no DNSSEC'}; TLS {host['tls']}")
    yield _line("MTA-STS", "no policy" if sts is None else f"{sts['mode']}, policy {sts['id']}: {', '.join(sts['mx'])}")


def _lane(answer: _Answer) -> Iterator[str]:
    provider = answer["provider"]
    by = {"domain": "by its domain", "mx": "by its MX hosts", None: ""}[provider["by"]]
    yield _line("Provider", f"{provider['name'] or 'none of the known'}{f', {by}' if by else ''}")
    if answer["pool"]["state"] is not None and provider["by"] == "mx" and provider["known_to_renderers"] is None:
        yield _more("not in recipient_domains yet: the first mails go by the queue of other domains")
    yield _line("Lane", f"{answer['lane'] or 'none'}, queue {answer['queue']}")


def _policy(policy: _Answer) -> Iterator[str]:
    yield _line("Policy", f"{policy['name']}, from each source IP, TLS {policy['tls']}, {policy['rules']} reply rules")
    yield _more(f"connections: {policy['connections_start']} at first, {policy['connections']} at most")
    if policy["connection_spacing_s"]:
        yield _more(f"connection spacing: {policy['connection_spacing_s']:g} s")
    for name, words in _LIMITS:
        yield _more(f"{words}: {'no limit' if policy[name] is None else f'{policy[name]:g}'}")
    before, after = policy["quiet_before_hour_s"], policy["quiet_after_hour_s"]
    if before or after:
        yield _more(f"quiet around the full hour: bulk mail from {before:g} s before to {after:g} s after")
    for name, keys in policy["by_api"].items():
        yield _more(f"set by the API for {name}: {', '.join(keys)}")
    for problem in policy["problems"]:
        yield _more(f"set by the API and not obeyed: {problem}")
    if policy["dispatchers_differ_in"]:
        yield _more(f"the pool's dispatchers go by other values of: {', '.join(policy['dispatchers_differ_in'])}")


def _retries(times: list[str]) -> Iterator[str]:
    yield _line("Retries", "if sent and deferred now, each up to 20 % later:")
    for start in range(0, len(times), _TIMES_A_LINE):
        yield _more(", ".join(_time(moment) for moment in times[start : start + _TIMES_A_LINE]))


def _sources(answer: _Answer) -> Iterator[str]:
    pool = answer.get("pool")
    if pool is None:
        return
    state = "" if pool["state"] in (None, "active") else f" ({pool['state']})"
    yield _line("Pool", f"{pool['name'] or 'none named'}{state}")
    for source in answer.get("sources", ()):
        yield _more(_source(source))
        for cap in source.get("caps", ()):
            yield _more(f"  {cap['used_today']} of {cap['messages_a_day']} messages of today used ({cap['lane']})")
        if warmup := source.get("warmup"):
            today = "over" if warmup["messages_today"] is None else f"{warmup['messages_today']} messages today"
            yield _more(f"  warm-up since {warmup['started_on']}: {today}, at its end {warmup['end_per_day']}")
        for held in source.get("suspensions", ()):
            until = "until resumed" if held["until"] is None else f"until {_time(held['until'])}"
            yield _more(f"  suspended by {held['origin']} {until}: {held['reason']}")
        if report := source.get("report"):
            yield _more(
                f"  reported: {report['state']}, {report['waiting']} waiting, "
                f"{report['connections']}/{report['connection_limit']} connections, {report['begun_per_s']:g}/s"
            )


def _source(source: _Answer) -> str:
    until = f" until {_time(source['until'])}" if source["until"] else ""
    reason = f": {source['reason']}" if source["reason"] else ""
    return f"{source['source_ip']} ({source['ehlo_name']}): {source['state']}{until}{reason}"


def _suppressed(counts: _Answer) -> str:
    if not counts["wholly"] and not counts["for_lists"]:
        return f"by none of {counts['tenants']} tenants"
    return f"by {counts['wholly']} of {counts['tenants']} tenants wholly, by {counts['for_lists']} for single lists"


def _when(answer: _Answer) -> str:
    when = answer["when"]
    match when["state"]:
        case "now":
            suppressed = answer.get("suppressed") or {}
            but = ", but not for the tenants that have suppressed it" if suppressed.get("wholly") else ""
            return f"now{but}{', as far as is known' if answer.get('unknown') else ''}"
        case "at":
            return f"at {_time(when['at'])}, because {when['because']}"
        case "held":
            return f"not before somebody acts, because {when['because']}"
        case _:
            return f"not at all, because {when['because']}"


def _time(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%SZ}"
