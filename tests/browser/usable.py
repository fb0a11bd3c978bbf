"""Whether everybody can use a page: what is measured of it in the browser.

Promises: ``assert_usable`` fails with what is wrong and where; it changes nothing of the page.
"""

import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

CONTRAST_MIN = 4.5
"""WCAG 2.2, success criterion 1.4.3."""
TARGET_MIN_PX = 24
"""WCAG 2.2, success criterion 2.5.8."""

_NAMELESS = re.compile(r"- (?:button|textbox|checkbox|combobox|link|heading)(?! \"\S)")

_CONTRASTS = """() => {
  const channel = v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 };
  const luminance = c => .2126 * channel(c[0]) + .7152 * channel(c[1]) + .0722 * channel(c[2]);
  const colour = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n };
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const found = colour(getComputedStyle(e).backgroundColor);
      if (found[3] === 1) return found;
    }
    return matchMedia('(prefers-color-scheme: dark)').matches ? [18, 18, 18, 1] : [255, 255, 255, 1];
  };
  const ratio = (a, b) => { const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p); return (x + .05) / (y + .05) };
  const found = [];
  const look = (element, text) => {
    const style = getComputedStyle(element);
    if (style.visibility === 'hidden' || !element.getClientRects().length) return;
    found.push({ text: text.trim().slice(0, 40), ratio: ratio(colour(style.color), behind(element)) });
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) if (walker.currentNode.data.trim()) look(walker.currentNode.parentElement, walker.currentNode.data);
  for (const input of document.querySelectorAll('input:not([type=hidden]), select')) look(input, input.value || input.id);
  return found;
}"""

_LAYOUT = """smallest => ({
  language: document.documentElement.lang,
  scroll: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  sticking_out: [...document.querySelectorAll('main *')].filter(e => !e.closest('.trap')
      && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80)),
  small: [...document.querySelectorAll('button, select, input:not([type=hidden]), footer a')].filter(e => !e.closest('.trap'))
      .map(e => [e.outerHTML.slice(0, 60), e.getBoundingClientRect().height]).filter(e => e[1] < smallest),
  unlabelled: [...document.querySelectorAll('input:not([type=hidden]), select')].filter(e => !e.closest('.trap'))
      .filter(e => ![...e.labels].some(l => l.getBoundingClientRect().height > 10 && l.innerText.trim()))
      .map(e => e.outerHTML.slice(0, 80)),
  scripts: document.scripts.length,
})"""


def assert_usable(page: Page, language: str, shot: Path) -> None:
    """Fail where a page is not for everybody: language, title, width, labels, names, sizes, contrast; keep a picture."""
    page.screenshot(path=shot, full_page=True)
    layout: dict[str, Any] = page.evaluate(_LAYOUT, TARGET_MIN_PX)
    assert layout == {
        "language": language, "scroll": 0, "sticking_out": [], "small": [], "unlabelled": [], "scripts": 0,
    }, f"{shot}: {layout}"  # fmt: skip
    title = page.title()
    assert title
    assert title == page.locator("h1").inner_text()
    spoken = page.locator("body").aria_snapshot()
    assert not _NAMELESS.search(spoken), spoken
    assert "website" not in spoken
    contrasts = page.evaluate(_CONTRASTS)
    assert contrasts
    assert [one for one in contrasts if one["ratio"] < CONTRAST_MIN] == [], shot


def tab_to(page: Page, role: str, name: str, most: int = 40) -> None:
    """Press Tab until the element with a role and a name has the focus, as who has no mouse does."""
    wanted = page.get_by_role(role, name=name).first  # type: ignore[arg-type] # a role of ARIA
    for _ in range(most):
        page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            outline = wanted.evaluate("element => getComputedStyle(element).outlineStyle")
            assert outline != "none", f"the focus on {name} is not seen"
            return
    raise AssertionError(f"the keyboard does not reach {role} {name!r}")
