"""``hayabin contacts | lists | segments | suppressions | consents`` as people run them, against a served API."""

import importlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import httpx
import pytest

from hayabin.database.engine import Database
from services.standalone.showing import Table, json_line, width
from tests.integration.api.conftest import a_key
from tests.integration.api.rest import done
from tests.integration.standalone.conftest import command

Served = tuple[str, Database]
PEOPLE = (("hanako@b.example", "佐藤 花子"), ("taro@b.example", "Taro"), ("a/b+c@d.example", "次郎"))


class Shell:
    """The command with an API and a key; each call gives what was printed, and asserts the exit code."""

    def __init__(self, url: str, key: str) -> None:
        """Run as this key."""
        self.url = url
        self.key = key

    async def __call__(self, line: str, *more: str, code: int = 0, said: str | bytes = "") -> str:
        """What a command prints, with its complaints where it is to fail; the words of ``line`` have no spaces."""
        found, printed, complained = await command(*line.split(), *more, url=self.url, key=self.key, said=said)
        assert found == code, (line, printed, complained)
        return printed.decode() if code == 0 else printed.decode() + complained

    async def rows(self, line: str, *more: str) -> list[dict[str, Any]]:
        """The JSON lines of a command."""
        return [json.loads(row) for row in (await self(line, *more, "--json")).splitlines()]


@pytest.fixture
async def shell(served: Served) -> Shell:
    """A tenant with a list and three people, the first of whom is on it."""
    url, database = served
    shell = Shell(url, await a_key(database, "acme"))
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {shell.key}"}) as client:
        await done(await client.post("/v1/lists", json={"name": "お便り"}), 201)
        for email, name in PEOPLE:
            await done(await client.post("/v1/contacts", json={"email": email, "name": name, "stage": "x"}), 201)
        await done(await client.post("/v1/lists/1/members", json={"contact_ids": [1]}), 200)
    return shell


def test_table_is_aligned_and_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Full-width, combining and invisible characters are counted as shown; escapes and turned text do not come through."""
    table = Table(("name", "x"), as_json=False)
    table.show([{"name": "花子さん", "x": True}, {"name": "か\u3099", "x": [1, "a"]}])
    table.show([{"name": "\x1b[31m\u202e\x9b", "x": {"ü": None}}, {"name": "ﾊﾅｺ　太郎!", "x": None}])
    assert capsys.readouterr().out == (
        "name      x\n花子さん  yes\nか\u3099        1, a\n\ufffd[31m\ufffd\ufffd   " + '{"ü": null}\nﾊﾅｺ　太郎!\n'
    )
    line = json_line({"名": "\x1b\x9b\u202e\ud800"})
    assert line == '{"名": "\\u001b\\u009b\\u202e\\ud800"}'
    assert json.loads(line) == {"名": "\x1b\x9b\u202e\ud800"}


@pytest.mark.parametrize("group", ["contacts", "lists", "segments", "suppressions", "consents"])
def test_each_help_has_an_example_that_can_be_typed(group: str) -> None:
    """Sub-commands, options and their values are those of the command."""
    commands = importlib.import_module(f"services.standalone.people.{group}").__dict__[group]
    for name, one in commands.commands.items():
        [example] = re.findall(rf"^ *Example: hayabin {group} {name}(.*)$", one.help, re.MULTILINE)
        words = [word.replace("buyers.json", "-").replace("blocked.txt", "-") for word in shlex.split(example)]
        one.make_context(name, words)


async def test_contacts_and_lists_by_command(shell: Shell) -> None:
    """People are found, listed, moved by id and by name; what the API refuses is told with its words and places."""
    table = (await shell("contacts list --attribute company=x")).splitlines()
    assert table == []
    table = (await shell("contacts list --stage x")).splitlines()
    assert [line.split()[1] for line in table] == ["email", *(email for email, _ in PEOPLE)]
    assert len({width(line[: line.index(" x ")]) for line in table[1:]}) == 1, table
    assert [row["id"] for row in await shell.rows("contacts list --limit 2")] == [1, 2]
    assert (await shell.rows("contacts find a/b+c@d.example"))[0]["id"] == 3
    assert "name        佐藤 花子" in await shell("contacts show 1")
    assert "There is no contact with this address." in await shell("contacts find nobody@b.example", code=1)
    assert "query:email: " in await shell("contacts find no-address", code=1)
    assert "is no text" in await shell("contacts find \udc8d@b.example", code=2)
    assert [row["field"] for row in await shell.rows("contacts history hanako@b.example")] == ["created"]
    assert "subscribed" in await shell("contacts subscriptions 1")
    assert "Subscribed." in await shell("lists subscribe お便り taro@b.example --basis written --note", "紙 2026-041")
    assert "Not subscribed" in await shell("lists subscribe 1 2", code=1)
    assert "Unsubscribed." in await shell("lists unsubscribe お便り taro@b.example --note telephone")
    assert [row["state"] for row in await shell.rows("lists members お便り --state unsubscribed")] == ["unsubscribed"]
    assert (await shell.rows("contacts subscriptions 2 --history"))[0]["was"] == "subscribed"
    assert "Removed." in await shell("lists remove 1 1")
    assert "There is no list of this name." in await shell("lists show other", code=1)
    assert (await shell.rows("lists show お便り"))[0]["subscribed"] == 0
    assert "お便り" in await shell("lists list")
    actions = [row["action"] for row in await shell.rows("consents list --contact taro@b.example")]
    assert actions == ["opt_in", "opt_out"]
    assert await shell.rows("consents list --contact 2 --from 2999-01-01T00:00:00Z") == []
    assert "query:since" in await shell("consents list --from 2026-01-01T00:00:00", code=1)


async def test_consents_are_taken_out_by_command(shell: Shell, tmp_path: Path) -> None:
    """For a person or a period, as a file or printed; a file that cannot be written is told."""
    target = tmp_path / "consents.csv"
    await shell("consents export --from 2020-01-01T00:00:00Z --to 2999-01-01T00:00:00Z -o", str(target))
    assert "hanako@b.example" in target.read_text(encoding="utf-8-sig")
    assert [path.name for path in tmp_path.iterdir()] == ["consents.csv"]
    assert json.loads(await shell("consents export --contact 1 --format ndjson"))["contact_id"] == 1
    assert "No such file" in await shell("consents export -o", str(tmp_path / "none" / "x.csv"), code=1)


async def test_segments_by_command(shell: Shell, tmp_path: Path) -> None:
    """A file of rules is tried, saved and counted; what is wrong in it is told with its place."""
    rules = {"all": [{"field": "domain", "is": "equals", "value": "b.example"}]}
    file = tmp_path / "ours.json"
    file.write_text(json.dumps({"name": "わが社", "rules": rules}), encoding="utf-8")
    tried = (await shell("segments check", str(file))).splitlines()
    assert (tried[0], len(tried)) == ("2 contacts meet the rules.", 4)
    assert "Segment 1." in await shell("segments create -", said=file.read_bytes())
    assert "409 Name taken" in await shell("segments create", str(file), code=1)
    assert await shell("segments count わが社") == "2\n"
    assert [row["email"] for row in await shell.rows("segments people 1 --limit 1")] == ["hanako@b.example"]
    assert (await shell.rows("segments show わが社"))[0]["rules"] == rules
    assert "わが社" in await shell("segments list")
    file.write_text('{"name": "x", "rules": {"all": [{"field": "domain", "is": "after", "value": 1}]}}')
    assert "#/rules/all/0/is: " in await shell("segments check", str(file), code=1)
    file.write_text('{"rules": NaN}')
    assert "is no JSON" in await shell("segments check", str(file), code=1)


async def test_suppressions_by_command(shell: Shell, tmp_path: Path) -> None:
    """By hand and by file: a line that is no address is told by its number, the others count; nothing is added twice."""
    assert "2 added, 0 known" in await shell("suppressions add a/b+c@d.example example.org")
    standing = await shell.rows("suppressions show somebody@example.org")
    assert [(row["email"], row["reason"]) for row in standing] == [("@example.org", "manual")]
    file = tmp_path / "blocked.txt"
    file.write_bytes("\ufeffx@y.example\r\n\r\nbroken@@y\r\n@z.example\nno domain\nz.example\n".encode())
    printed = await shell("suppressions import", str(file), code=1)
    assert "2 added, 0 known, 2 not usable" in printed
    assert ("line 3: " in printed, "line 5: " in printed, "broken@@y" in printed) == (True, True, False)
    assert "0 added, 3 known, 0 not usable" in await shell(
        "suppressions import -", said=b"x@y.example\nz.example\n@example.org"
    )
    assert "Line 1 is no UTF-8" in await shell("suppressions import -", said="花".encode("cp932"), code=1)
    assert "is this the file?" in await shell("suppressions import -", said=(b"x" * 301 + b"\n") * 120, code=1)
    assert "There is no such list." in await shell("suppressions import --list 9 -", said=b"x@y.example", code=1)
    imported = await shell.rows("suppressions list --reason imported --limit 3")
    assert [row["email"] for row in imported] == ["@z.example", "x@y.example"]
    assert "a/b+c@d.example" in await shell("suppressions export -o -")
    assert "Lifted." in await shell("suppressions lift a/b+c@d.example")
    assert "Lifted." in await shell("suppressions lift example.org")
    assert "There is no such suppression." in await shell("suppressions show example.org", code=1)
