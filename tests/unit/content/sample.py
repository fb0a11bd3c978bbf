"""A newsletter and the system variables that the tests of this folder fill it in with."""

from hayabin.content.render import SystemVariables

NEWSLETTER_MJML = """<mjml>
<mj-head>
  <mj-title>早便</mj-title>
  <mj-preview>こんにちは {{ last_name }}</mj-preview>
  <mj-style inline="inline">.brand { color: {{ brand }} }</mj-style>
</mj-head>
<mj-body>
  {% if vip %}
  <mj-section><mj-column>
    <mj-text css-class="brand"><h1>{{ last_name|honorific }}</h1>
      <p>first<br>second &amp; third</p><ul><li>one</li><li>two {{ facts.two }}</li></ul></mj-text>
    <mj-table>
      <tr><th>品</th><th>価格</th></tr>
      {% for item in items %}<tr><td>{{ item.name }}</td><td>{{ item.price|number }}円</td></tr>{% endfor %}
    </mj-table>
    <mj-button href="https://shop.example/sale?x=1&amp;y=2">買う</mj-button>
    <mj-button href="https://shop.example/{{ id }}?n={{ last_name|urlencode }}&amp;q=1">あなたへ</mj-button>
    <mj-text><a href="mailto:help@shop.example">問い合わせ</a> <a href="{{ unsubscribe_url }}">配信停止</a></mj-text>
  </mj-column></mj-section>
  {% endif %}
</mj-body>
</mjml>
"""

NEWSLETTER_VALUES = {
    "last_name": "山田",
    "brand": "red",
    "vip": True,
    "facts": {"two": 2},
    "items": [{"name": "りんご", "price": 1234}, {"name": "A&B", "price": 5}],
    "id": 7,
}

SYSTEM = SystemVariables(
    track_url="https://t.example/c/TOKEN",
    open_url="https://t.example/o/TOKEN",
    unsubscribe_url="https://t.example/u/TOKEN?a=1&b=2",
    link_mac=lambda number, url: f"mac{number}-{len(url)}",
)
