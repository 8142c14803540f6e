"""Money, numbers and dates as the reader writes them, where the reader lives."""

from zoneinfo import ZoneInfo

import pytest

from campaigns.errors import TemplateFault
from campaigns.messaging import liquid
from campaigns.messaging.channel_settings import save_channel
from campaigns.messaging.preview import preview_template
from campaigns.messaging.queue import WebhookRequest
from contacts.crud import update_contact
from contacts.references import ContactChanges
from tests.campaigns.messages import a_message, a_template, use_channel

VALUES = {
    "total": 1234.5,
    "spelled": "1234.5",
    "currency": "eur",
    "at": "2026-03-28T23:30:00.000Z",
    "day": "1990-03-28",
    "local": "2026-03-28T09:00",
    "words": "1 " * 60,
}


def rendered(source, locale="en", zone="UTC", kind="text", **values):
    region = liquid.Region(liquid.locale_named(locale), ZoneInfo(zone))
    return (
        liquid.render(source, {**VALUES, **values}, kind, region).replace("\xa0", " ").replace("\u202f", " ")
    )


@pytest.mark.parametrize(
    ("source", "locale", "printed"),
    [
        ("{{ total | money: 'USD' }}", "en", "$1,234.50"),
        ("{{ total | money: 'EUR' }}", "de", "1.234,50 €"),
        ("{{ total | money: currency }}", "de-AT", "€ 1.234,50"),
        ("{{ spelled | money: 'EUR' }}", "fr", "1 234,50 €"),
        ("{{ total | money: 'JPY' }}", "ja", "￥1,235"),
        ("{{ total | money: 'KWD' }}", "en", "KWD 1,234.500"),
        ("{{ total | money: 'CHF' }}", "de-CH", "CHF 1’234.50"),
        ("{{ 1234567.5 | money: 'INR' }}", "hi", "₹12,34,567.50"),
        ("{{ 0.125 | money: 'USD' }}", "en", "$0.13"),
        ("{{ -0.001 | money: 'USD' }}", "en", "$0.00"),
        ("{{ -5 | money: 'USD' }}", "en", "-$5.00"),
        ("{{ 0.1 | plus: 0.2 | money: 'USD' }}", "en", "$0.30"),
        ("{{ total | money: 'EUR', locale: 'en-GB' }}", "de", "€1,234.50"),
        ("{{ total | money: 'EUR', locale: 'xx-such' }}", "de", "1.234,50 €"),
        ("{{ total | number }}", "en", "1,234.5"),
        ("{{ total | number }}", "de", "1.234,5"),
        ("{{ total | number: 2 }}", "de", "1.234,50"),
        ("{{ total | number: 0 }}", "en", "1,235"),
        ("{{ 1234567 | number }}", "hi", "12,34,567"),
        ("{{ 1234567 | number: 1 }}", "hi", "12,34,567.0"),
        ("{{ 2.0005 | number }}", "en", "2.001"),
        ("{{ '1e30' | number }}", "en", "1" + ",000" * 10),
        ("{{ '1e30' | money: 'USD' }}", "en", "$1" + ",000" * 10 + ".00"),
        ("{{ '1e20' | number }}", "en", "100,000,000,000,000,000,000"),
    ],
)
def test_money_and_numbers_are_written_as_in_the_locale(source, locale, printed):
    assert rendered(source, locale) == printed


@pytest.mark.parametrize(
    ("source", "locale", "zone", "printed"),
    [
        ("{{ at | date }}", "en", "UTC", "Mar 28, 2026"),
        ("{{ at | date: 'long' }}", "de", "Europe/Berlin", "29. März 2026"),
        ("{{ at | date: 'full' }}", "fr", "America/New_York", "samedi 28 mars 2026"),
        ("{{ at | date: 'short' }}", "en-GB", "UTC", "28/03/2026"),
        ("{{ at | time }}", "en", "America/New_York", "7:30 PM"),
        ("{{ at | time }}", "de", "Europe/Berlin", "00:30"),
        ("{{ at | datetime: 'short' }}", "de", "Asia/Tokyo", "29.03.26, 08:30"),
        ("{{ at | date: '%Y-%m-%d %H:%M' }}", "en", "UTC", "2026-03-28 23:30"),
        ("{{ at | date: '%Y-%m-%d %H:%M %z' }}", "en", "Europe/Berlin", "2026-03-29 00:30 +0100"),
        ("{{ '2026-03-29T00:59:59Z' | date: '%H:%M %z' }}", "en", "Europe/Berlin", "01:59 +0100"),
        ("{{ '2026-03-29T01:00:00Z' | date: '%H:%M %z' }}", "en", "Europe/Berlin", "03:00 +0200"),
        ("{{ '2026-10-25T00:30:00Z' | date: '%H:%M %z' }}", "en", "Europe/Berlin", "02:30 +0200"),
        ("{{ '2026-10-25T01:30:00Z' | date: '%H:%M %z' }}", "en", "Europe/Berlin", "02:30 +0100"),
        ("{{ '2026-03-29T02:00:00+05:30' | date: '%d %H:%M' }}", "en", "UTC", "28 20:30"),
        ("{{ '2026-03-29 02:00 UTC' | date: '%d %H:%M' }}", "en", "Asia/Tokyo", "29 11:00"),
        ("{{ at | date: '%A, %-d. %B' }}", "de", "Europe/Berlin", "Sonntag, 29. März"),
        ("{{ at | date: '%a %b %^B %I %p %%A' }}", "en", "UTC", "Sat Mar MARCH 11 PM %A"),
        ("{{ at | date: '%H', zone: 'Asia/Tokyo' }}", "en", "UTC", "08"),
        ("{{ at | date: 'long', locale: 'es', zone: 'Asia/Tokyo' }}", "en", "UTC", "29 de marzo de 2026"),
        ("{{ day | date: 'long' }}", "en", "America/New_York", "March 28, 1990"),
        ("{{ day | date: '%d.%m.' }}", "en", "Pacific/Kiritimati", "28.03."),
        ("{{ local | time }}", "de", "Asia/Tokyo", "09:00"),
        ("{{ 1774740600 | date: '%Y-%m-%d %H:%M' }}", "en", "Europe/Berlin", "2026-03-29 00:30"),
        ("{{ '1774740600' | date: '%H:%M' }}", "en", "Asia/Tokyo", "08:30"),
        ("{{ 'now' | datetime: 'short' }}", "en", "Asia/Tokyo", "5/1/26, 9:00 PM"),
        ("{{ 'today' | date: '%H' }}", "en", "Asia/Tokyo", "21"),
        ("{{ now | time }}", "de", "Asia/Tokyo", "21:00"),
        ("{{ today }} {{ today | date: '%d' }}", "en", "Pacific/Kiritimati", "2026-05-02 02"),
        ("{{ 'soon' | date: '%H' }}", "en", "UTC", "soon"),
        ("{{ words | date: '%H' }}", "en", "UTC", "1 " * 60),
        ("{{ '2026-02-30' | date: 'long' }}", "en", "UTC", "2026-02-30"),
    ],
)
def test_moments_are_told_where_the_reader_lives(time, source, locale, zone, printed):
    assert rendered(source, locale, zone) == printed


@pytest.mark.parametrize(
    "source",
    [
        "{{ total | money }}",
        "{{ total | money: 'Euro' }}",
        "{{ total | money: 'XYZ1' }}",
        "{{ 'free' | money: 'EUR' }}",
        "{{ total | number: -1 }}",
        "{{ total | number: 21 }}",
        "{{ total | number: 'two' }}",
        "{{ at | date: 'long', zone: 'Nowhere/City' }}",
        "{{ at | date: 'long', zone: '../etc/passwd' }}",
        "{{ true | date: 'long' }}",
        "{{ at | date: 5 }}",
        "{{ 99999999999999999 | date: 'long' }}",
    ],
)
def test_what_cannot_be_written_is_a_fault(source):
    with pytest.raises(TemplateFault):
        rendered(source)


def test_a_format_of_the_template_may_be_markup_and_data_may_not():
    assert rendered("{{ at | date: '<b>%d</b>' }}", kind="html") == "<b>28</b>"
    assert rendered("{{ words | date: '%d' }}", kind="html", words="<b>soon</b>") == "&lt;b&gt;soon&lt;/b&gt;"


@pytest.mark.parametrize(
    ("name", "locale"),
    [
        ("de", "de"),
        ("de-AT", "de_AT"),
        ("DE_at", "de_AT"),
        ("de_AT.UTF-8", "de_AT"),
        ("pt-BR", "pt_BR"),
        ("zh-Hant-TW", "zh_Hant_TW"),
        ("de-XX", "de"),
        (" en ", "en"),
        ("xx", None),
        ("", None),
        ("../../etc/passwd", None),
        ("German", None),
        ("e" * 10_000, None),
    ],
)
def test_a_locale_goes_by_any_of_its_spellings(name, locale):
    found = liquid.locale_named(name)

    assert (str(found) if found else None) == locale


BODY = "{{ 1234.5 | money: 'EUR' }} {{ '2026-03-28T23:30:00Z' | date: '%d. %B %H:%M' }}"
GERMAN, ENGLISH = "1.234,50\xa0€ 29. März 00:30", "€1,234.50 28. March 23:30"


@pytest.mark.parametrize(
    ("attributes", "printed"),
    [
        ({"locale": "de-DE", "timezone": "Europe/Berlin"}, GERMAN),
        ({"language": "de", "timeZone": "Europe/Berlin"}, GERMAN),
        ({"locale": "xx", "language": "de", "time_zone": "Europe/Berlin"}, GERMAN),
        ({"locale": "xx", "timezone": "Nowhere"}, ENGLISH),
        ({"locale": 5}, ENGLISH),
        ({}, ENGLISH),
    ],
)
def test_a_message_is_written_as_its_reader_writes(workspace, jane, attributes, printed):
    update_contact(workspace.id, jane, ContactChanges(attributes=attributes))
    template = a_template(workspace, BODY, subject=BODY, text=BODY)

    for made in (a_message(jane, template), preview_template(workspace.id, template, jane.id)):
        assert (made.subject, made.body, made.text) == (printed.replace("\xa0", " "), printed, printed)
    called = a_message(jane, WebhookRequest("https://shop.test", {"a": BODY}))
    assert called.body == f'{{"a": "{printed}"}}'


def test_a_contact_without_a_zone_has_the_channels_zone(workspace, jane):
    use_channel(workspace, "email", time_zone="Europe/Berlin", options={"locale": "de"})

    assert a_message(jane, a_template(workspace, BODY)).body == GERMAN
    with pytest.raises(Exception, match="de-AT") as refused:
        save_channel(workspace.id, "email", options={"locale": "nowhere"})
    assert refused.value.field == "options.locale"
