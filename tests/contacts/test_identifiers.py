import pytest
from hypothesis import given
from hypothesis import strategies as st

from contacts.services import normalize_identifier

KINDS = ["email", "phone", "external_id", "anonymous_id", "customer_no"]
anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.text(alphabet="+0123456789() -./exttel:;=", max_size=30),
    st.emails(),
    st.lists(st.text()),
    st.dictionaries(st.text(), st.text()),
    st.binary(),
)


@given(st.sampled_from(KINDS), anything)
def test_never_raises_and_is_idempotent(kind, text):
    once = normalize_identifier(kind, text)
    assert once is None or normalize_identifier(kind, once) == once


@given(st.sampled_from(KINDS), st.text(alphabet=st.characters(min_codepoint=0x80), min_size=1))
def test_what_is_normalised_can_be_stored(kind, text):
    once = normalize_identifier(kind, text)
    assert once is None or (0 < len(once) <= 512 and "\x00" not in once and once.encode())


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("  Jane@Example.COM ", "jane@example.com"),
        ("team/a@example.test", "team/a@example.test"),
        ("jane", None),
        ("jane@", None),
        ("@example.test", None),
        ("a@b@example.test", None),
        ("a b@example.test", None),
        ("", None),
        ("a" * 512 + "@example.test", None),
        ("a\x00@example.test", None),
        ("a\ud800@example.test", None),
        (None, None),
        (["a@example.test"], None),
    ],
)
def test_emails(text, stored):
    assert normalize_identifier("email", text) == stored


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("+1 (202) 555-0123", "+12025550123"),
        ("+12025550123", "+12025550123"),
        ("+44 20 7946 0958", "+442079460958"),
        ("+1-555-1234", "+15551234"),
        ("+15551234", "+15551234"),
        ("555-1234", "5551234"),
        (15551234, "15551234"),
        ("+", None),
        ("unknown", None),
        (True, None),
    ],
)
def test_phones(text, stored):
    assert normalize_identifier("phone", text) == stored


@pytest.mark.parametrize(
    ("text", "stored"),
    [(" A-1 ", "A-1"), (42, "42"), (True, None), (1.5, None), (2**70, None), ("  ", None), ("x" * 513, None)],
)
def test_ids_of_other_systems(text, stored):
    assert normalize_identifier("external_id", text) == stored
