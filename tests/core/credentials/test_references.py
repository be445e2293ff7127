"""References: what stands for a stored secret outside of the server."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runicorn.credentials.address import SECRET_FIELDS, Address, SecretField
from runicorn.credentials.references import ExpiredReference, ForeignReference, References, is_reference

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
ADDRESSES = st.builds(Address, host=NAMES, port=st.integers(1, 65535), username=NAMES)
FIELDS = st.sampled_from(SECRET_FIELDS)


@given(ADDRESSES, FIELDS, NAMES, ADDRESSES, FIELDS, NAMES)
def test_a_reference_is_good_for_one_secret_in_one_place(
    address: Address, field: SecretField, secret: str, address2: Address, field2: SecretField, secret2: str
) -> None:
    references = References()
    reference = references.make(address, field, secret)
    assert is_reference(reference)
    assert len(reference) - len("saved:") >= 22
    references.check(reference, address, field, secret)
    if secret != secret2:
        with pytest.raises(ExpiredReference):
            references.check(reference, address, field, secret2)
    with pytest.raises(ExpiredReference):
        references.check(reference, address, field, None)
    if (address.without_brackets, field) != (address2.without_brackets, field2):
        with pytest.raises(ForeignReference):
            references.check(reference, address2, field2, secret)
    with pytest.raises(ExpiredReference):
        References().check(reference, address, field, secret)


@given(st.text(max_size=60), st.integers(0, 300))
def test_what_this_server_did_not_make_has_expired(text: str, place: int) -> None:
    references = References()
    address = Address("h", 22, "u")
    made = references.make(address, "password", "hunter2")
    place %= len(made) - 8
    changed = made[: 6 + place] + ("A" if made[6 + place] != "A" else "B") + made[7 + place :]
    assume(changed != made)
    for reference in ("saved:" + text, changed, made[:-1], made + "A"):
        with pytest.raises(ExpiredReference):
            references.check(reference, address, "password", "hunter2")


def test_two_references_to_one_secret_differ_and_show_nothing_of_it() -> None:
    references = References(key := b"A" * 43 + b"=")
    made = {references.make(Address("h", 22, "u"), "password", "hunter2") for _ in range(20)}
    assert len(made) == 20
    assert all("hunter2" not in reference for reference in made)
    other_worker = References(key)
    for reference in made:
        other_worker.check(reference, Address("h", 22, "u"), "password", "hunter2")


def test_an_ipv6_address_is_the_same_with_and_without_brackets() -> None:
    references = References()
    reference = references.make(Address("[fe80::1]", 22, "u"), "password", "x")
    references.check(reference, Address("fe80::1", 22, "u"), "password", "x")
