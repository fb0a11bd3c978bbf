"""What one mail costs the renderer, step by step, beside what the usual libraries take for the same mail.

One command: ``python -m benchmarks.render [--rounds 7]``; prints JSON. The mail is the benchmarks' newsletter: 20 KB of
HTML and text, 15 merge fields, a loop, 12 tracked links. Rounds are interleaved and the median counts.
Units: microseconds of wall clock an email, one thread.
"""

import argparse
import hashlib
import json
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage

import dkim
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from benchmarks.newsletter import ATTRIBUTES, newsletter
from hayabin.content.render import Renderer, SystemVariables
from hayabin.domain.campaign import MergePolicy
from hayabin.domain.token import TokenKey, TokenRing, UnsubscribeClaim
from services.renderer.dkim import DkimSigner
from services.renderer.mime import MailParts, MailWriter, Sender

REPEATS = 300
SLOW_REPEATS = 20
DATE = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
SENDER = Sender(7, 3, "bulk", "早便ショップ", "news@mail.example.jp", "", 12, "月刊ニュース", "mail.example.jp")
URL = "https://t.example.jp"
UNSUBSCRIBE_ADDRESS = f"u-{'a' * 60}@bounce.example.jp"


def system_variables(ring: TokenRing, message_id: int) -> SystemVariables:
    """The tokens and links of one mail, as the worker makes them."""
    tracking = ring.issue_tracking(message_id)
    unsubscribe = ring.issue_unsubscribe(UnsubscribeClaim(3, 12, 99, message_id))
    return SystemVariables(
        track_url=f"{URL}/c/{tracking}",
        open_url=f"{URL}/o/{tracking}",
        unsubscribe_url=f"{URL}/u/{unsubscribe}",
        link_mac=lambda link, url: ring.link_mac(message_id, link, url),
    )


class Mail:
    """The newsletter for one recipient, and what it takes to make it."""

    def __init__(self) -> None:
        """Compile, make keys, render once."""
        rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        ed25519_key = ed25519.Ed25519PrivateKey.generate()
        self.rsa_pem = rsa_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        rsa_signer = DkimSigner("mail.example.jp", "r", rsa_key)
        ed25519_signer = DkimSigner("mail.example.jp", "e", ed25519_key)
        self.ring = TokenRing([TokenKey(1, b"k" * 32)], 1)
        self.values = {**ATTRIBUTES, "name": "山田 花子", "email": "hanako@example.jp"}
        self.renderer = Renderer(newsletter())
        self.unsigned = MailWriter(SENDER, [])
        self.with_rsa = MailWriter(SENDER, [rsa_signer])
        self.with_ed25519 = MailWriter(SENDER, [ed25519_signer])
        self.with_both = MailWriter(SENDER, [rsa_signer, ed25519_signer])
        self.system = system_variables(self.ring, 17)
        self.content = self.renderer.render(self.values, self.system, MergePolicy.BLOCK)
        self.rsa_key = rsa_key

    def parts(self) -> MailParts:
        """What differs from mail to mail."""
        return MailParts(
            to_name="山田 花子",
            to_address="hanako@example.jp",
            subject=self.content.subject,
            text=self.content.text,
            html=self.content.html,
            message_id="<17.abc@mail.example.jp>",
            unsubscribe_url=self.system.unsubscribe_url,
            unsubscribe_address=UNSUBSCRIBE_ADDRESS,
        )

    def whole(self, writer: MailWriter) -> bytes:
        """The way of one mail: tokens, templates, MIME, signatures."""
        self.system = system_variables(self.ring, 17)
        self.content = self.renderer.render(self.values, self.system, MergePolicy.BLOCK)
        return writer.write(self.parts(), DATE)

    def by_email_message(self) -> bytes:
        """The same mail by the standard library."""
        message = EmailMessage()
        message["From"] = "早便ショップ <news@mail.example.jp>"
        message["To"] = "山田 花子 <hanako@example.jp>"
        message["Subject"] = self.content.subject
        by_mail = f"mailto:{UNSUBSCRIBE_ADDRESS}?subject=unsubscribe"
        message["List-Unsubscribe"] = f"<{self.system.unsubscribe_url}>, <{by_mail}>"
        message.set_content(self.content.text)
        message.add_alternative(self.content.html or "", subtype="html")
        return message.as_bytes()


def steps(mail: Mail) -> dict[str, tuple[int, Callable[[], object]]]:
    """Each step with its repeats; the names that begin with ``peer`` are other libraries."""
    ready = mail.unsigned.write(mail.parts(), DATE)
    body = ready.partition(b"\r\n\r\n")[2]
    return {
        "tokens": (REPEATS, lambda: system_variables(mail.ring, 17)),
        "templates": (REPEATS, lambda: mail.renderer.render(mail.values, mail.system, MergePolicy.BLOCK)),
        "mime": (REPEATS, lambda: mail.unsigned.write(mail.parts(), DATE)),
        "mime, rsa-2048": (REPEATS, lambda: mail.with_rsa.write(mail.parts(), DATE)),
        "mime, ed25519": (REPEATS, lambda: mail.with_ed25519.write(mail.parts(), DATE)),
        "whole mail, no signature": (REPEATS, lambda: mail.whole(mail.unsigned)),
        "whole mail, rsa-2048": (REPEATS, lambda: mail.whole(mail.with_rsa)),
        "whole mail, rsa-2048 and ed25519": (REPEATS, lambda: mail.whole(mail.with_both)),
        "limit: bare rsa-2048 signature": (
            REPEATS,
            lambda: mail.rsa_key.sign(b"x" * 1500, padding.PKCS1v15(), hashes.SHA256()),
        ),
        "limit: sha256 of the body": (REPEATS, lambda: hashlib.sha256(body).digest()),
        "peer: EmailMessage": (SLOW_REPEATS, mail.by_email_message),
        "peer: dkimpy rsa-2048": (
            SLOW_REPEATS,
            lambda: dkim.sign(ready, b"r", b"mail.example.jp", mail.rsa_pem, canonicalize=(b"relaxed", b"relaxed")),
        ),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    mail = Mail()
    work = steps(mail)
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, (repeats, step) in work.items():
            started = time.perf_counter()
            for _ in range(repeats):
                step()
            taken[name].append((time.perf_counter() - started) / repeats * 1e6)
    sizes = {"html": len((mail.content.html or "").encode()), "text": len(mail.content.text.encode())}
    sizes["mail"] = len(mail.whole(mail.with_both))
    result = {
        "us_per_email": {name: round(statistics.median(times), 1) for name, times in taken.items()},
        "bytes": sizes,
        "rounds": rounds,
        "python": platform.python_version(),
    }
    print(json.dumps(result, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
