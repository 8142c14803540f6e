import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.values.emails import canonical_email, canonical_email_part, read_mailbox
from config.values.phones import canonical_phone, canonical_phone_part


@pytest.mark.parametrize(
    ("text", "name", "address", "header"),
    [
        ("news@acme.com", "", "news@acme.com", "news@acme.com"),
        (" <News@ACME.com> ", "", "News@ACME.com", "News@ACME.com"),
        ("Acme Inc. <news@acme.com>", "Acme Inc.", "news@acme.com", '"Acme Inc." <news@acme.com>'),
        ('"Acme: News" <news@acme.com>', "Acme: News", "news@acme.com", '"Acme: News" <news@acme.com>'),
        (r'"The \"A\"" <news@acme.com>', 'The "A"', "news@acme.com", r'"The \"A\"" <news@acme.com>'),
        ("Café <news@straße.tld>", "Café", "news@xn--strae-oqa.tld", None),
        ('"q"@acme.com', "", "q@acme.com", "q@acme.com"),
        ("می\u200cخواهم <q@acme.com>", "می\u200cخواهم", "q@acme.com", None),
    ],
)
def test_a_mailbox_has_a_name_and_one_address(text, name, address, header):
    mailbox = read_mailbox(text)
    assert (mailbox.name, mailbox.address) == (name, address)
    assert header is None or str(mailbox) == header


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Acme: News <news@acme.com>", "must be in quotes"),
        ("Acme, Inc. <news@acme.com>", "must be in quotes"),
        ("Acme (News) <news@acme.com>", "must be in quotes"),
        ("a@acme.com, b@acme.com", "not several"),
        ("A <a@acme.com>, B <b@acme.com>", "not several"),
        ("a@acme.com; b@acme.com", "not several"),
        ("a@acme.com b@acme.com", "no e-mail address"),
        ("a@acme.com <b@acme.com>", "not several"),
        ("Acme", "no e-mail address"),
        ("", "must be an e-mail address"),
        ("Acme <news>", "no e-mail address"),
        ("Acme <=?utf-8?q?news?=@acme.com>", "no e-mail address"),
        ("Acme <news@acme.com", "must be an e-mail address"),
        ("Acme\n <news@acme.com>", "cannot be printed"),
    ],
)
def test_what_is_no_mailbox_says_why(text, why):
    with pytest.raises(ValueError, match=why):
        read_mailbox(text)


@settings(deadline=None)
@given(
    st.from_regex(r"[a-z0-9]{1,9}(\.[a-z0-9]{1,9})?@[a-z0-9]{1,9}\.(com|example)", fullmatch=True), st.data()
)
def test_every_spelling_of_a_mailbox_has_one_form(address, data):
    invisible = st.sampled_from("\u00ad\u200b\u200e\u2060\ufeff\u202e\u034f\U000e0030")
    spelled = "".join(
        data.draw(
            st.sampled_from([one, one.upper(), _wide(one), unicodedata.normalize("NFD", one)])
            | invisible.map(lambda seen, one=one: one + seen)
        )
        for one in address
    )
    end = data.draw(st.sampled_from(["", ".", "。", " "]))
    assert canonical_email(spelled + end) == address


@settings(deadline=None)
@given(st.from_regex(r"\+4930[0-9]{6,8}", fullmatch=True), st.data())
def test_every_spelling_of_a_number_has_one_form(number, data):
    between = st.sampled_from(["", " ", "-", "\u200b", "\u00a0", "."])
    spelled = "".join(
        data.draw(st.sampled_from([one, _wide(one)])) + data.draw(between) for one in number[1:]
    )
    assert canonical_phone(data.draw(st.sampled_from(["+", "00", "tel:+", "＋"])) + spelled) == number


def _wide(character: str) -> str:
    return chr(ord(character) + 0xFEE0)


@pytest.mark.parametrize(
    "text",
    [
        "=?a" * 170 + "@example.com",
        "=?" + "?" * 900 + "@example.com",
        "é" + "\u0300\u0316" * 500_000 + "@example.com",
        "é\u200d" * 500_000 + "@example.com",
        "1" + " " * 1_000_000 + "2",
        "(" + " " * 1_000_000,
        "." * 1_000_000 + "+00",
    ],
    ids=lambda text: text[:4],
)
def test_no_address_takes_long_to_be_read(text):
    """Anybody may send one: whoever answers a form, or signs in."""
    began = time.process_time()
    for read in (canonical_email, canonical_email_part, canonical_phone, canonical_phone_part):
        read(text)
    assert time.process_time() - began < 0.2
