"""The size of audience that a caller expects, held against the one that is there."""

from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from services.api.launch_checks import require_expected
from services.api.problems import Problem


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 1000).map(lambda tenths: tenths / 10))
@example(110, 100, 10.0)
@example(111, 100, 10.0)
@example(1023, 1000, 2.3)
@example(0, 0, 0.0)
@example(1, 0, 100.0)
def test_audience_passes_exactly_within_the_percent_of_what_is_expected(
    audience: int, expected: int, percent: float
) -> None:
    """The bound itself passes; of nobody expected there is no percent."""
    within = abs(audience - expected) <= Fraction(expected) * Fraction(str(percent)) / 100
    try:
        require_expected(audience, expected, percent)
    except Problem as problem:
        assert not within, (audience, expected, percent)
        assert problem.members["audience"] == audience  # noqa: PT017 - both outcomes are looked at
    else:
        assert within, (audience, expected, percent)
