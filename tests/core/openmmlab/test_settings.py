from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lth_core.errors import ConfigError
from lth_core.openmmlab.settings import IMPSettings, TicketSettings, parse_imp, parse_ticket

from .toy import toy_config

KNOWN_TICKET = {"path", "weights", "variant", "partial", "seed"}


def test_complete_settings_are_taken_as_they_are() -> None:
    assert parse_ticket({"path": "a"}) == TicketSettings("a")
    parsed = parse_ticket(
        {
            "path": "a",
            "weights": "w.pth",
            "variant": {"type": "random", "match": "layer", "seed": 3},
        }
    )
    assert parsed.variant is not None
    assert (parsed.variant.type, parsed.variant.match, parsed.variant.seed) == (
        "random",
        "layer",
        3,
    )
    assert parse_imp({"rounds": 3, "kinds": ["conv", "linear"]}) == IMPSettings(
        3, kinds=("conv", "linear")
    )


def test_a_variant_is_given_by_name_or_with_its_fields() -> None:
    by_name = parse_ticket({"path": "a", "weights": "reinit", "variant": "perturb"}).variant
    assert by_name is not None
    assert by_name.settings() == {
        "type": "perturb",
        "seed": 0,
        "fraction": 0.1,
        "keep_density": False,
    }
    # mmengine puts a scope into dicts that inherit across packages.
    given = {"type": "shuffle", "unit": "kernel", "_scope_": "mmdet"}
    shuffle = parse_ticket({"path": "a", "weights": "w.pth", "variant": given}).variant
    assert shuffle is not None
    assert shuffle.settings() == {"type": "shuffle", "seed": 0, "unit": "kernel"}
    assert given["type"] == "shuffle"  # a config is read, not changed


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"path": "a", "wieghts": "b"}, "did you mean 'weights'"),
        ({"pth": "a"}, "did you mean 'path'"),
        ({}, "needs the field 'path'"),
        ({"path": 3}, "must name a ticket file"),
        ({"path": ""}, "must name a ticket file"),
        ({"path": "a", "partial": 1}, "use True, False or 'shared'"),
        ({"path": "a", "partial": "some"}, "use True, False or 'shared'"),
        ({"path": "a", "variant": "random"}, "name a checkpoint in ticket.weights"),
        ({"path": "a", "weights": "keep", "variant": "shuffled"}, "choose from complement"),
        (
            {"path": "a", "weights": "keep", "variant": {"type": "random", "sede": 1}},
            "did you mean 'seed'",
        ),
        ({"path": "a", "weights": 3}, "use None, 'keep', 'reinit' or a path"),
        ({"path": "a", "weights": "reinit", "seed": -1}, "ticket.seed is -1; use a whole number"),
        ({"path": "a", "weights": "reinit", "seed": 1.5}, "ticket.seed is 1.5; use a whole"),
        ({"path": "a", "weights": "reinit", "seed": True}, "ticket.seed is True; use a whole"),
        ({"path": "a", "weights": "keep", "seed": 1}, "only weights='reinit' draws from it"),
        ({"path": "a", "weights": "keep", "variant": {"seed": 1}}, "needs the field 'type'"),
        ({"path": "a", "weights": "keep", "variant": {"type": 3}}, "unknown variant 3"),
        ({"path": "a", "weights": "keep", "variant": ["even"]}, "ticket.variant is .* dict"),
        (
            {"path": "a", "weights": "keep", "variant": {"type": "even", "match": "layer"}},
            "ticket.variant: variant 'even' has no field 'match'; it has seed",
        ),
        (
            {"path": "a", "weights": "keep", "variant": {"type": "perturb", "fraction": 2}},
            "ticket.variant: variant 'perturb': fraction is 2; use a number between 0 and 1",
        ),
        ("file.safetensors", "must be a dict"),
    ],
)
def test_malformed_ticket_settings_are_refused(value: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse_ticket(value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"round": 3}, "did you mean 'rounds'"),
        ({}, "needs the field 'rounds'"),
        ({"rounds": -1}, "whole number"),
        ({"rounds": 2.5}, "whole number"),
        ({"rounds": 2, "amount": 1.0}, "between 0 and 1"),
        ({"rounds": 2, "amount": 0}, "between 0 and 1"),
        ({"rounds": 2, "rewind": "early"}, "rewind_at"),
        ({"rounds": 2, "rewind_at": "2ep"}, "rewind_at"),
        ({"rounds": 2, "rewind": "early", "rewind_at": "soon"}, "no point in training"),
        ({"rounds": 2, "rewind": "late"}, "choose from"),
        ({"rounds": 2, "criterion": "magnitud"}, "unknown criterion"),
        ({"rounds": 2, "allocation": "globl"}, "unknown allocation"),
        ({"rounds": 2, "first_prune": "never"}, "first_prune"),
    ],
)
def test_malformed_imp_settings_are_refused(value: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_imp(value)


@given(st.text(string.ascii_lowercase + "_", min_size=1, max_size=12))
def test_every_unknown_field_is_refused(name: str) -> None:
    if name in KNOWN_TICKET:
        return
    with pytest.raises(ConfigError, match="has no field"):
        parse_ticket({"path": "a", name: 1})


@pytest.mark.parametrize("key", ["tickets", "tiket", "Ticket", "imps", "IMP"])
def test_a_misspelt_top_level_key_is_refused(key: str, tmp_path: object) -> None:
    from lth_core.openmmlab import LTHRunner

    with pytest.raises(ConfigError, match="did you mean"):
        LTHRunner.from_cfg(toy_config(str(tmp_path), **{key: {"path": "a"}}))
