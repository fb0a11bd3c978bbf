"""Sending domains: keys, records, and the look into a real DNS server."""

import base64

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from hayabin.database.engine import Database
from hayabin.database.sealing import unseal
from hayabin.settings import secret_bytes
from services.api.app import make_app
from tests.integration.api.conftest import a_key, client_of, settings_of
from tests.integration.api.rest import Client, done, problem
from tests.support.dns_zone import DnsZone


def quoted(value: str) -> str:
    """A TXT value as a zone file has it, in strings of at most 255 octets."""
    return " ".join(f'"{value[at : at + 255]}"' for at in range(0, len(value), 255))


async def test_domain_is_verified_by_what_the_dns_says(database: Database, database_url: str) -> None:
    """Missing, different and silent are told apart; verified when both keys are there, character by character."""
    async with DnsZone({"mail.example.jp": {"A": "127.0.0.9"}}) as zone:
        app = make_app(settings_of(database_url, dns_servers=f"127.0.0.1:{zone.port}"), database)
        async with client_of(app, await a_key(database, "acme")) as client:
            domain = await done(await client.post("/v1/domains", json={"name": "mail.example.jp"}), 201)
            path = f"/v1/domains/{domain['id']}/verify"
            rsa_record, ed_record = (r for r in domain["dns_records"] if r["purpose"].startswith("DKIM"))
            found = problem(await client.post(path), 409, "records-missing")
            assert [e["pointer"] for e in found["errors"]] == [f"dns:{rsa_record['name']}", f"dns:{ed_record['name']}"]
            zone.zone[rsa_record["name"]] = {"TXT": quoted(rsa_record["value"])}
            zone.zone[ed_record["name"]] = {"TXT": quoted(ed_record["value"].replace("p=", "p=A"))}
            found = problem(await client.post(path), 409, "records-missing")
            assert [e["pointer"] for e in found["errors"]] == [f"dns:{ed_record['name']}"]
            zone.zone[ed_record["name"]] = "SERVFAIL"
            answer = await client.post(path)
            problem(answer, 503, "dns-unavailable")
            assert answer.headers["Retry-After"]
            zone.zone[ed_record["name"]] = {"TXT": [quoted("something else"), quoted(ed_record["value"])]}
            verified = await done(await client.post(path), 200)
            assert verified["verified_at"]
            assert (await done(await client.get(f"/v1/domains/{domain['id']}"), 200)) == verified


async def test_domain_has_two_keys_whose_private_halves_are_sealed(database: Database, database_url: str) -> None:
    """RSA-2048 and Ed25519 are made here; the database has them sealed for this tenant, the answer not at all."""
    settings = settings_of(database_url)
    async with client_of(make_app(settings, database), await a_key(database, "acme")) as client:
        domain = await done(await client.post("/v1/domains", json={"name": "Mail.Example.JP."}), 201)
    assert domain["name"] == "mail.example.jp"
    assert "private" not in str(domain)
    published = [r["value"].rpartition("p=")[2] for r in domain["dns_records"] if r["purpose"].startswith("DKIM")]
    rows = await database.pool.fetch(
        "SELECT k.*, d.tenant_id FROM dkim_keys k JOIN domains d ON d.id = domain_id ORDER BY k.id"
    )
    encoding, form = serialization.Encoding, serialization.PublicFormat
    for row, public in zip(rows, published, strict=True):
        purpose = f"dkim:mail.example.jp:{row['selector']}"
        plain = unseal(secret_bytes(settings.master_key), row["tenant_id"], purpose, bytes(row["private_key"]))
        assert plain not in bytes(row["private_key"])
        key = serialization.load_der_private_key(plain, None)
        match key:
            case rsa.RSAPrivateKey():
                assert key.key_size == 2048
                shown = key.public_key().public_bytes(encoding.DER, form.SubjectPublicKeyInfo)
            case ed25519.Ed25519PrivateKey():
                shown = key.public_key().public_bytes(encoding.Raw, form.Raw)
            case _:
                raise AssertionError(type(key))
        assert base64.b64encode(shown).decode() == public
    assert [row["algorithm"] for row in rows] == ["rsa-sha256", "ed25519-sha256"]


async def test_domain_shows_every_record_that_delivery_needs(client: Client, database: Database) -> None:
    """DMARC of the domain; SPF with the pools' addresses and the MX of the return path."""
    await database.pool.execute(
        "INSERT INTO pool_sources (pool, address, ehlo_name, dispatcher) VALUES ('main', '192.0.2.10', 'a', 'd'), "
        "('main', '2001:db8::1', 'b', 'd')"
    )
    domain = await done(await client.post("/v1/domains", json={"name": "例え.jp"}), 201)
    assert domain["name"] == "xn--r8jz45g.jp"
    records = {(r["name"], r["type"]): r["value"] for r in domain["dns_records"]}
    assert records["_dmarc.xn--r8jz45g.jp", "TXT"] == "v=DMARC1; p=none"
    assert records["bounce.hayabin.example", "TXT"] == "v=spf1 ip4:192.0.2.10 ip6:2001:db8::1 -all"
    assert records["bounce.hayabin.example", "MX"] == "10 bounce.hayabin.example."
    problem(await client.post("/v1/domains", json={"name": "例え.JP"}), 409, "name-taken")
    for wrong in ("localhost", "a b.example", "x@y.example", "-.example", "a..b", ""):
        problem(await client.post("/v1/domains", json={"name": wrong}), 422, "invalid-address")
