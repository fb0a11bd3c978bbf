"""The pages for marketers work: each request in them is really sent, in the order of the page, to a fresh tenant."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from hayabin.database.engine import Database
from services.api.exports.runner import run_next_export
from services.api.imports.runner import run_next_import
from services.api.people_jobs.runner import run_next_person_job
from services.standalone.command import hayabin
from tests.integration.api.rest import Client

PAGES = Path(__file__).resolve().parents[3] / "docs" / "marketers"
NAMES = ("import", "segments", "consent")
_BLOCK = re.compile(r"^```(\w+)[ ]?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_KINDS = {"hb": "application/json", "up": "text/csv", "approver": "application/json"}
_KEPT = re.compile(r"(\w+)=\$\((\w+)")
"""``NAME=$(hb … | jq -r .member)``: what later requests say as ``$NAME``."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One request of a page, and what it is said to be answered with (0: a success)."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    status: int
    kept: tuple[str, str] | None = None
    """A member of the answer, and the name by which the page goes on with it."""


def blocks(page: Path) -> tuple[list[tuple[list[str], str]], dict[str, bytes]]:
    """The commands of a page, as words, each with the comment behind it; and the files that it shows."""
    commands, files = [], {}
    for kind, name, content in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "csv":
            files[name] = content.encode()
        elif kind == "sh":
            commands += [
                (shlex.split(command), comment) for command, comment in _commands(content.replace("\\\n", " "))
            ]
    return commands, files


def _commands(text: str) -> Iterator[tuple[str, str]]:
    """Commands of a shell up to the line ends outside of quotes, each with its comment."""
    command, quote, place = "", "", 0
    while place < len(text):
        character = text[place]
        comment = ""
        if not quote and character == "#" and command[-1:].isspace():
            end = text.index("\n", place)
            comment, place, character = text[place + 1 : end].strip(), end, "\n"
        if not quote and character == "\n":
            yield command.strip(), comment
            command = ""
        else:
            quote = "" if character == quote else quote or (character if character in "'\"" else "")
            command += character
        place += 1


def sent(words: list[str], comment: str, files: dict[str, bytes]) -> Sent:
    """The request that curl would make of a command."""
    kind, *arguments = words
    kept = None
    if match := _KEPT.fullmatch(kind):
        *arguments, pipe, jq, raw, member = arguments
        assert (pipe, jq, raw, member[0], member[-1]) == ("|", "jq", "-r", ".", ")")
        kind, kept = match[2], (member[1:-1], match[1])
    headers, body, method, target = {"Content-Type": _KINDS[kind]}, b"", "", ""
    if kind == "approver":
        headers["Authorization"] = "Bearer $APPROVER"
    while arguments:
        match arguments.pop(0):
            case "-X":
                method = arguments.pop(0)
            case "-H":
                name, _, value = arguments.pop(0).partition(": ")
                headers[name] = value
            case "-d":
                body = arguments.pop(0).encode()
            case "--data-binary":
                body = files[arguments.pop(0).removeprefix("@")]
            case "-o":
                arguments.pop(0)
            case word:
                assert word.startswith("$API/"), word
                target = word.removeprefix("$API")
    status = int(comment.split(maxsplit=1)[0]) if comment[:1].isdecimal() else 0
    return Sent(method or ("POST" if body else "GET"), target, headers, body, status, kept)


def requests_of(page: Path) -> list[Sent]:
    """The requests of a page, in order."""
    commands, files = blocks(page)
    return [sent(words, comment, files) for words, comment in commands if words and _is_request(words[0])]


def _is_request(word: str) -> bool:
    match = _KEPT.fullmatch(word)
    return (match[2] if match else word) in _KINDS


def _filled_in(request: Sent, known: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    """Body and headers as the shell would send them."""
    body, headers = request.body, request.headers
    for name, value in known.items():
        body = body.replace(f"${name}".encode(), value.encode())
        headers = {header: text.replace(f"${name}", value) for header, text in headers.items()}
    return body, headers


async def _work(database: Database) -> None:
    """What the scheduler does between two commands of a person."""
    while await run_next_import(database, "test") or await run_next_export(database, "test"):
        pass
    for _ in range(3):
        await run_next_person_job(database, "test")
        await database.pool.execute("UPDATE person_jobs SET not_before = NULL")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("language", ["en", "ja"])
async def test_each_request_of_a_page_is_answered_as_it_says(
    client: Client, database: Database, language: str, name: str
) -> None:
    """No example rots: paths, fields and values are those that the API takes."""
    requests = requests_of(PAGES / language / f"{name}.md")
    assert len(requests) >= 8
    known: dict[str, str] = {}
    for request, following in zip(requests, [*requests[1:], None], strict=True):
        body, headers = _filled_in(request, known)
        answer = await client.request(request.method, request.target, content=body, headers=headers)
        if request.status:
            assert answer.status_code == request.status, (request, answer.text)
        else:
            assert answer.is_success, (request, answer.text)
        if request.kept:
            member, name = request.kept
            known[name] = answer.json()[member]
        if following is None or not following.target.endswith("/cancel"):
            await _work(database)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_each_command_of_a_page_is_one_of_ours(language: str, name: str) -> None:
    """Sub-commands and options exist."""
    text = (PAGES / language / f"{name}.md").read_text(encoding="utf-8")
    lines = re.findall(r"^(?:KEY=\$\()?hayabin ([^\n)>]+)", text, re.MULTILINE)
    assert lines
    for line in lines:
        words = shlex.split(line, comments=True)
        command: click.Command = hayabin
        context = click.Context(command)
        while isinstance(command, click.Group):
            found = command.get_command(context, words.pop(0))
            assert found is not None, line
            command, context = found, click.Context(found, parent=context)
        command.make_parser(context).parse_args(words)


def test_both_languages_have_the_same_commands() -> None:
    """A page and its translation differ in words, not in what is done."""
    for name in NAMES:
        ours, theirs = (PAGES / language / f"{name}.md" for language in ("en", "ja"))
        assert blocks(ours)[1] == blocks(theirs)[1]
        assert [(one.method, one.target, one.body) for one in requests_of(ours)] == [
            (one.method, one.target, one.body) for one in requests_of(theirs)
        ]
