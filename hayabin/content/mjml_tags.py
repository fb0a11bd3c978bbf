"""The elements of MJML 4: where each may stand, and which attributes it takes.

Promises: ``MJML_TAGS`` is the whole vocabulary that templates may use; what is not in it is an error to its author.
Source: the component reference of MJML 4.
"""

from dataclasses import dataclass

_PADDING = "padding padding-top padding-right padding-bottom padding-left "
_BORDER = "border border-top border-right border-bottom border-left border-radius "
_FONT = "color font-family font-size font-style font-weight letter-spacing line-height text-decoration text-transform "
_BACKGROUND = (
    "background-color background-url background-repeat background-size background-position background-position-x "
    "background-position-y "
)
_INNER_BORDER = (
    "inner-background-color inner-border inner-border-top inner-border-right inner-border-bottom inner-border-left "
    "inner-border-radius "
)
_ACCORDION_ICON = (
    "icon-align icon-height icon-position icon-unwrapped-alt icon-unwrapped-url icon-width icon-wrapped-alt "
    "icon-wrapped-url "
)
_HAMBURGER = (
    "ico-align ico-close ico-color ico-font-family ico-font-size ico-line-height ico-open ico-padding ico-padding-top "
    "ico-padding-right ico-padding-bottom ico-padding-left ico-text-decoration ico-text-transform "
)
_CONTAINED = "align container-background-color vertical-align width height " + _PADDING

_IN_COLUMN = frozenset(
    "mj-accordion mj-button mj-carousel mj-divider mj-image mj-navbar mj-raw mj-social mj-spacer mj-table "  # noqa: SIM905 - reads as words
    "mj-text".split()
)


@dataclass(frozen=True, slots=True)
class Element:
    """What one element takes: its attributes, and its children, or None if its content is HTML or text."""

    attributes: frozenset[str]
    children: frozenset[str] | None


EVERYWHERE = frozenset({"css-class", "mj-class"})


def _element(attributes: str, children: str | frozenset[str] | None = "") -> Element:
    kinds = frozenset(children.split()) if isinstance(children, str) else children
    return Element(frozenset(attributes.split()) | EVERYWHERE, kinds)


_COMPONENTS = {
    "mj-body": _element("background-color width", "mj-hero mj-raw mj-section mj-wrapper"),
    "mj-section": _element(
        _BACKGROUND + _BORDER + _PADDING + "direction full-width text-align text-padding",
        "mj-column mj-group mj-raw",
    ),
    "mj-wrapper": _element(
        _BACKGROUND + _BORDER + _PADDING + "direction full-width gap text-align text-padding",
        "mj-hero mj-raw mj-section mj-wrapper",
    ),
    "mj-group": _element("background-color direction vertical-align width", "mj-column mj-raw"),
    "mj-column": _element(
        _BORDER + _PADDING + _INNER_BORDER + "background-color direction vertical-align width", _IN_COLUMN
    ),
    "mj-hero": _element(
        _BACKGROUND + _CONTAINED + "background-height background-width border-radius inner-background-color "
        "inner-padding inner-padding-top inner-padding-right inner-padding-bottom inner-padding-left mode",
        _IN_COLUMN,
    ),
    "mj-text": _element(_FONT + _CONTAINED + "background-color", None),
    "mj-button": _element(
        _FONT + _CONTAINED + _BORDER + "background-color href inner-padding name rel target text-align title", None
    ),
    "mj-image": _element(
        _CONTAINED + _BORDER + "alt fluid-on-mobile font-size full-width href max-height name rel sizes src srcset "
        "target title usemap"
    ),
    "mj-divider": _element(_CONTAINED + "border-color border-style border-width"),
    "mj-spacer": _element(_CONTAINED + _BORDER),
    "mj-table": _element(_FONT + _CONTAINED + "border cellpadding cellspacing role table-layout text-align", None),
    "mj-raw": _element("position", None),
    "mj-social": _element(
        _FONT + _CONTAINED + "border-radius icon-height icon-padding icon-size inner-padding mode table-layout "
        "text-padding",
        "mj-raw mj-social-element",
    ),
    "mj-social-element": _element(
        _FONT + _PADDING + "align alt background-color border-radius href icon-height icon-padding icon-position "
        "icon-size name rel sizes src srcset target text-padding title vertical-align",
        None,
    ),
    "mj-navbar": _element(_PADDING + _HAMBURGER + "align base-url hamburger", "mj-navbar-link mj-raw"),
    "mj-navbar-link": _element(_FONT + _PADDING + "href name rel target", None),
    "mj-accordion": _element(
        _PADDING + _ACCORDION_ICON + "border container-background-color font-family", "mj-accordion-element mj-raw"
    ),
    "mj-accordion-element": _element(
        _ACCORDION_ICON + "background-color border font-family", "mj-accordion-text mj-accordion-title mj-raw"
    ),
    "mj-accordion-title": _element(_FONT + _PADDING + "background-color", None),
    "mj-accordion-text": _element(_FONT + _PADDING + "background-color", None),
    "mj-carousel": _element(
        _PADDING + "align background-color border-radius container-background-color icon-width left-icon right-icon "
        "tb-border tb-border-radius tb-hover-border-color tb-selected-border-color tb-width thumbnails",
        "mj-carousel-image",
    ),
    "mj-carousel-image": _element(
        "alt border-radius href rel src target tb-border tb-border-radius thumbnails-src title"
    ),
}

_ANY_ATTRIBUTE = " ".join(
    sorted(frozenset().union(*(element.attributes for element in _COMPONENTS.values())) | {"name"})
)

MJML_TAGS: dict[str, Element] = {
    "mjml": _element("dir lang owa", "mj-body mj-head"),
    "mj-head": _element(
        "", "mj-attributes mj-breakpoint mj-font mj-html-attributes mj-preview mj-raw mj-style mj-title"
    ),
    "mj-attributes": _element("", frozenset(_COMPONENTS) | {"mj-all", "mj-class"}),
    "mj-all": _element(_ANY_ATTRIBUTE),
    "mj-class": _element(_ANY_ATTRIBUTE),
    "mj-breakpoint": _element("width"),
    "mj-font": _element("href name"),
    "mj-html-attributes": _element("", "mj-selector"),
    "mj-selector": _element("path", "mj-html-attribute"),
    "mj-html-attribute": _element("name", None),
    "mj-preview": _element("", None),
    "mj-style": _element("inline", None),
    "mj-title": _element("", None),
    **_COMPONENTS,
}
