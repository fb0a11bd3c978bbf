"""The documented keys of a policy are those that the domain reads."""

from dataclasses import fields

import pytest

from hayabin.domain.policy import Policy, read_settings
from hayabin.domain.reply_rules import ReplyRule
from services.api.policy_schema import KEYS, POLICY_SCHEMA, RULE_KEYS, RULE_SCHEMA


def test_keys_of_policies_and_rules_are_all_explained() -> None:
    """The table has each member of the domain's dataclasses and nothing else."""
    assert set(KEYS) == {field.name for field in fields(Policy)} - {"provider"} | {"disabled_rules"}
    assert set(RULE_KEYS) == {field.name for field in fields(ReplyRule)}
    assert all(len(text) > 10 for text in (*KEYS.values(), *RULE_KEYS.values()))


def test_documented_keys_are_read_and_others_are_not() -> None:
    """The reader knows each documented key: it refuses a value by the key's name, not the key."""
    for key in KEYS:
        with pytest.raises(ValueError, match=f"^{key}: "):
            read_settings({key: object()})
    with pytest.raises(ValueError, match=r"^unknown key: provider"):
        read_settings({"provider": "x"})


def test_documented_defaults_are_values_that_are_read() -> None:
    """Whoever copies the defaults from the document is not refused."""
    defaults = {name: about["default"] for name, about in POLICY_SCHEMA["properties"].items() if "default" in about}
    assert len(defaults) > 10
    assert read_settings(defaults)
    assert set(RULE_SCHEMA["required"]) <= set(RULE_KEYS)
