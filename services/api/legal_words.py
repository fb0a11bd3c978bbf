"""What each finding of the legal checks says, and what to do, in Japanese and English."""

from typing import Final, NamedTuple

from hayabin.domain.legal_display import DisplayItem


class Words(NamedTuple):
    """A sentence in both languages, with places for what it speaks of."""

    ja: str
    en: str


PART: Final = {
    "": Words("", ""),
    "html": Words(ja="HTML本文", en="the HTML part"),
    "text": Words(ja="テキスト本文", en="the text part"),
}

MISSING: Final[dict[DisplayItem, Words]] = {
    DisplayItem.SENDER_NAME: Words(
        ja="{part}に送信者の氏名又は名称「{name}」がありません。会社名などの正式な名称を本文に記載してください。",
        en="The sender's name ({name}) is not in {part}. Write the full name of the company or person into the mail.",
    ),
    DisplayItem.OPT_OUT_PLACE: Words(
        ja="{part}に受信拒否の通知先がありません。リンク {{{{ unsubscribe_url }}}} を本文に入れてください。",
        en="There is no address or URL for opting out in {part}. Put the link {{{{ unsubscribe_url }}}} into the mail.",
    ),
    DisplayItem.OPT_OUT_STATEMENT: Words(
        ja="{part}に配信停止ができる旨の記載がありません。「配信停止はこちら」などの文をリンクのそばに入れてください。",
        en="{part} does not say that one can opt out. Write so beside the link, such as “Unsubscribe here”.",
    ),
    DisplayItem.POSTAL_ADDRESS: Words(
        ja="{part}に送信者の住所が見つかりません。設定 postal_address に住所を入れ、本文にも記載してください。"
        "住所をリンク先に表示する場合は、その場所を本文に示す必要があります。",
        en="No postal address of the sender was found in {part}. Set postal_address, and write it into the mail. Where "
        "the address is shown behind a link, the mail has to say so.",
    ),
    DisplayItem.CONTACT: Words(
        ja="{part}に苦情・問合せの受付先(電話番号、メールアドレス又はURL)が見つかりません。"
        "設定 contact に入れ、本文にも記載してください。",
        en="No contact for complaints and questions (telephone, email address or URL) was found in {part}. Set "
        "contact, and write it into the mail.",
    ),
}
"""Of an item that a part does not show."""

OTHER: Final[dict[str, Words]] = {
    "opt_out_statement_far": Words(
        ja="{part}で、配信停止ができる旨の記載がリンクから離れています。リンクの直前か直後に書いてください。",
        en="In {part} the statement that one can opt out is far from its link. Move it beside the link.",
    ),
    "sender_name_not_set": Words(
        ja="設定 sender_name がありません。送信者の正式な名称を入れてください。今は差出人名「{name}」を探しています。",
        en="The setting sender_name is empty. Put the full name of the sender there; for now the From name {name} is "
        "looked for.",
    ),
    "unverified_domain": Words(
        ja="送信ドメイン {domain} のDKIMが確認されていません。DNSレコードを公開し、ドメインを検証してください。",
        en="DKIM of the sending domain {domain} is not verified. Publish its DNS records and verify the domain.",
    ),
    "members_without_consent": Words(
        ja="配信対象のうち {count} 人は同意の記録がありません。同意の取得方法を記録するか、対象から外してください。",
        en="There is no evidence of consent for {count} people of the audience. Record how they consented, or leave "
        "them out.",
    ),
}
"""Of all else, by code."""
