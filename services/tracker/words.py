"""The words of the pages in each of their languages."""

from collections.abc import Mapping
from typing import Final

LANGUAGES: Final = ("ja", "en")

WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "ja": {
        "title": "配信停止",
        "address": "宛先",
        "question": "メールの受け取りを停止しますか？",
        "nothing_yet": "ボタンを押すまで、設定は変わりません。",
        "stop_list_before": "「",
        "stop_list_after": "」の配信を停止する",
        "stop_all_before": "",
        "stop_all_after": "からのメールをすべて停止する",
        "stopped_list_before": "「",
        "stopped_list_after": "」の配信は停止しています。",
        "stopped_all_before": "",
        "stopped_all_after": "からのメールはすべて停止しています。",
        "done": "配信停止の手続きが完了しました。",
        "on_the_way": "すでに送信処理中のメールは、行き違いで届くことがあります。",
        "gone": "このアドレスは登録されていません。このリンクのメールが今後届くことはありません。",
        "other_language": "English",
        "bad_link_title": "リンクが無効です",
        "bad_link": "リンクが正しくないか、無効になっています。メールのリンク全体が開かれているかご確認ください。",
        "away_title": "しばらくお待ちください",
        "away": "ただいま処理できません。設定は変わっていません。少し時間をおいて、もう一度お試しください。",
        "bad_request_title": "操作を受け付けられませんでした",
        "bad_request": "ページのボタンからもう一度お試しください。設定は変わっていません。",
    },
    "en": {
        "title": "Unsubscribe",
        "address": "Address",
        "question": "Do you want to stop receiving these mails?",
        "nothing_yet": "Nothing changes until you press a button.",
        "stop_list_before": "Unsubscribe from “",
        "stop_list_after": "”",
        "stop_all_before": "Stop all mail from ",
        "stop_all_after": "",
        "stopped_list_before": "You are unsubscribed from “",
        "stopped_list_after": "”.",
        "stopped_all_before": "All mail from ",
        "stopped_all_after": " is stopped.",
        "done": "You have been unsubscribed.",
        "on_the_way": "A mail that is already on its way may still arrive.",
        "gone": "This address is not registered here. No more of these mails will be sent to it.",
        "other_language": "日本語",
        "bad_link_title": "This link is not valid",
        "bad_link": "The link is wrong or no longer valid. Please check that the whole link from the mail was opened.",
        "away_title": "Please wait a moment",
        "away": "This can not be done right now. Nothing was changed. Please try again in a little while.",
        "bad_request_title": "That was not understood",
        "bad_request": "Please try again with the buttons of the page. Nothing was changed.",
    },
}


def language_of(asked: str, accept_language: str) -> str:
    """The language of a page: the one ``asked`` for, else the best of ``accept_language``, else Japanese.

    Source: RFC 9110 §12.5.4.
    """
    if asked in LANGUAGES:
        return asked
    best, best_quality = LANGUAGES[0], 0.0
    for item in accept_language[:500].split(","):
        tag, _, parameters = item.partition(";")
        language = tag.strip().lower().partition("-")[0]
        quality = _quality(parameters)
        if language in LANGUAGES and quality > best_quality:
            best, best_quality = language, quality
    return best


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return min(1.0, max(0.0, float(value)))
    except ValueError:
        return 0.0
