"""The newsletter of the benchmarks: about 20 KB as HTML and text, 15 merge fields, a loop, 12 tracked links."""

from hayabin.content.compile import compile_template
from hayabin.content.compiled import CompiledTemplate, TemplateKind

ATTRIBUTES = {
    "company": "株式会社サンプル商事",
    "department": "営業部",
    "title": "課長",
    "city": "東京都千代田区",
    "plan": "スタンダード",
    "points": 1234,
    "rank": "gold",
    "coupon": "AUTUMN-2026",
    "expires": "2026-12-31",
    "shop": "新宿店",
    "manager": "佐藤",
    "last_item": "ワイヤレスイヤホン",
    "visits": 7,
    "items": [
        {"name": "冬のコート", "price": 12800, "note": "軽くて暖かい、毎日着られる一着です。"},
        {"name": "ニット帽", "price": 2480, "note": "国産ウールを使った定番の帽子です。"},
        {"name": "革の手袋", "price": 6900, "note": "スマートフォンもそのまま操作できます。"},
        {"name": "マフラー", "price": 4200, "note": "肌ざわりのよいカシミヤ混です。"},
    ],
}
_PARAGRAPH = (
    "いつもご利用いただきありがとうございます。この季節だけの品揃えと、会員の皆さまへのお知らせをお届けします。"
    "店頭でもオンラインでも、同じ価格とポイントでお求めいただけます。"
)


def newsletter() -> CompiledTemplate:
    """The compiled template."""
    sections = "".join(
        f'<h2 style="font-size:18px;color:#1a3a5c;margin:24px 0 8px 0">{n}. 今週のお知らせ</h2>'
        f'<p style="font-size:14px;line-height:1.8;color:#333333;margin:0 0 12px 0">{_PARAGRAPH * 3}</p>'
        f'<p style="margin:0 0 16px 0"><a href="https://shop.example/news/{n}" style="color:#0a66c2">詳しく見る</a></p>'
        for n in range(1, 11)
    )
    html = (
        "<!doctype html><html lang='ja'><head><meta charset='utf-8'><title>お知らせ</title></head>"
        "<body style='margin:0;background:#f5f5f5'><table width='100%'><tr><td><div style='max-width:600px'>"
        "<h1>{{ name }} 様</h1><p>{{ company }} {{ department }} {{ title }} ({{ city }})</p>"
        "<p>プラン {{ plan }}・{{ points }} ポイント・クーポン {{ coupon }}(期限 {{ expires }})</p>"
        "{% if rank == 'gold' %}<p>ゴールド会員の特典をご用意しました。</p>{% endif %}"
        "<p>{{ shop }} の {{ manager }} です。前回は {{ last_item }} をありがとうございました。{{ visits }} 回目を"
        "お待ちしています。</p><ul>{% for item in items %}"
        "<li>{{ item.name }} — {{ item.price }} 円。{{ item.note }}</li>"
        f"{{% endfor %}}</ul>{sections}"
        '<p><a href="https://shop.example/">オンラインショップ</a> <a href="https://shop.example/shops">店舗一覧</a></p>'
        '<p>{{ email }} 宛にお送りしています。<a href="{{ unsubscribe_url }}">配信停止</a></p>'
        "</div></td></tr></table></body></html>"
    )
    return compile_template(TemplateKind.HTML, "{{ name }} 様、今週のお知らせです", html, None)
