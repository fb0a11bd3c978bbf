"""The certificate of an erasure: what was done, what is kept and why; for people and for programs.

Promises: it names the person by the keyed hash alone; it carries the SHA-256 of its own members (RFC 8785 would say
canonical: sorted names, no spaces, UTF-8), so that a copy can be checked; the text in Japanese and English is made from
the same members.
Fails: never.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import orjson

FORMAT: Final = "hayabin.erasure-certificate/1"

KEPT: Final[tuple[dict[str, str], ...]] = (
    {
        "what": "erased_addresses, suppressions",
        "form": "keyed hash of the address (SHA-256 with a random key of this tenant)",
        "basis_en": "So that the person is not mailed again by a later import: the refusal has to be honoured (Act on "
        "Regulation of Transmission of Specified Electronic Mail, Art. 3(3); GDPR Art. 21(3), Art. 17(3)(b)).",
        "basis_ja": "後日の取り込みで再び送信しないため(特定電子メール法第3条第3項、GDPR第21条第3項・第17条第3項(b))。",
    },
    {
        "what": "consents, subscription_changes",
        "form": "dates, wording and way of each consent under the keyed hash; no address, IP address or user agent",
        "basis_en": "Records of consent have to be kept (Act on Regulation of Transmission of Specified Electronic "
        "Mail, Art. 3(2); GDPR Art. 7(1), Art. 17(3)(b) and (e)).",
        "basis_ja": "同意を証する記録の保存義務(特定電子メール法第3条第2項、GDPR第7条第1項・第17条第3項(b)(e))。",
    },
    {
        "what": "messages, recipients, attempts, events, engagements, counters",
        "form": "numbers, states, codes and times without address, name, attributes or texts",
        "basis_en": "Statistics that are about nobody any more (GDPR Recital 26).",
        "basis_ja": "個人を識別できない統計のため(GDPR前文26)。",
    },
    {
        "what": "audit_log",
        "form": "who did what when, with ids and hashes",
        "basis_en": "To show that the request was met (GDPR Art. 5(2)); it holds no addresses.",
        "basis_ja": "対応を証明するため(GDPR第5条第2項)。アドレスは含まれません。",
    },
)
NOT_REACHED: Final[tuple[dict[str, str], ...]] = (
    {
        "what": "queues of the message broker",
        "en": "Mails rendered before the erasure may stay there for minutes; the gate refuses to send them.",
        "ja": "消去前に作成されたメールが数分間残ることがありますが、送信直前の確認で送信されません。",
    },
    {
        "what": "backups, write-ahead log, free space of the database's files, planner statistics",
        "en": "They age out as your operator has set it, and with the database's next VACUUM and ANALYZE; restore a "
        "backup, and the erasure has to be done again.",
        "ja": "運用者の設定した期間と、データベースの次のVACUUM・ANALYZEで消えます。"
        "バックアップから復元した場合は、消去をやり直してください。",
    },
    {
        "what": "quarantine: mail that comes in later",
        "en": "Mail that comes in after the erasure and names no message of ours is kept for a look until newer mail "
        "takes its place. Erase the person again to drop it.",
        "ja": "消去後に届き、どの送信にも結び付かないメールは、新しいメールに置き換わるまで確認用に保管されます。"
        "もう一度消去すると削除されます。",
    },
    {
        "what": "segments, templates, campaigns; source and wording of consents",
        "en": "What your team or its programs wrote into rules, texts, names and sources is not searched.",
        "ja": "担当者やプログラムが条件・本文・名称・取得元に書いた内容は検索しません。",
    },
    {
        "what": "mail already sent; logs of other systems",
        "en": "What the person's provider and other systems hold is outside of Hayabin.",
        "ja": "送信済みのメールや他のシステムの記録は対象外です。",
    },
)


def issue(
    *, job_id: int, address_hash: bytes, requested_at: datetime, started_at: datetime, finished_at: datetime,
    counts: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:  # fmt: skip
    """The certificate, with its digest."""
    members: dict[str, Any] = {
        "format": FORMAT,
        "job_id": job_id,
        "address_hash": address_hash.hex(),
        "requested_at": requested_at.isoformat(),
        "started_at": started_at.isoformat(),
        "finished_at": finished_at.isoformat(),
        "tables": [
            {"table": table, "erased": numbers.get("erased", 0), "anonymised": numbers.get("anonymised", 0)}
            for table, numbers in sorted(counts.items())
        ],
        "kept": list(KEPT),
        "not_reached": list(NOT_REACHED),
    }
    return {**members, "sha256": digest(members)}


def digest(certificate: Mapping[str, Any]) -> str:
    """SHA-256 over the certificate's members but ``sha256`` itself, in hex."""
    members = {name: value for name, value in certificate.items() if name != "sha256"}
    return hashlib.sha256(orjson.dumps(members, option=orjson.OPT_SORT_KEYS)).hexdigest()


def in_english(certificate: Mapping[str, Any]) -> str:
    """For people."""
    lines = [
        "Certificate of erasure",
        "",
        f"Job: {certificate['job_id']}",
        f"Keyed hash of the address: {certificate['address_hash']}",
        f"Requested: {certificate['requested_at']}",
        f"Begun: {certificate['started_at']}",
        f"Done: {certificate['finished_at']}",
        "",
        "Rows, by table:",
        *(_row(row, "erased", "anonymised") for row in certificate["tables"]),
        "",
        "Kept, and why:",
        *(f"- {kept['what']}: {kept['form']}. {kept['basis_en']}" for kept in certificate["kept"]),
        "",
        "Not reached:",
        *(f"- {other['what']}: {other['en']}" for other in certificate["not_reached"]),
        "",
        f"SHA-256 of the JSON: {certificate['sha256']}",
        "This is no legal advice.",
    ]
    return "\n".join(lines) + "\n"


def in_japanese(certificate: Mapping[str, Any]) -> str:
    """For people."""
    lines = [
        "消去証明書",
        "",
        f"ジョブ: {certificate['job_id']}",
        f"アドレスの鍵付きハッシュ: {certificate['address_hash']}",
        f"受付: {certificate['requested_at']}",
        f"開始: {certificate['started_at']}",
        f"完了: {certificate['finished_at']}",
        "",
        "テーブルごとの行数:",
        *(_row(row, "消去", "匿名化") for row in certificate["tables"]),
        "",
        "保持するものと根拠:",
        *(f"- {kept['what']}: {kept['basis_ja']}" for kept in certificate["kept"]),
        "",
        "対象外:",
        *(f"- {other['what']}: {other['ja']}" for other in certificate["not_reached"]),
        "",
        f"JSONのSHA-256: {certificate['sha256']}",
        "これは法的助言ではありません。",
    ]
    return "\n".join(lines) + "\n"


def _row(row: Mapping[str, Any], erased: str, anonymised: str) -> str:
    return f"- {row['table']}: {erased} {row['erased']}, {anonymised} {row['anonymised']}"
