"""Links: read as browsers read them, tracked without any other byte changed, and right in the text part."""

import html
import re
import time as real_time

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from campaigns.messaging import html_markup
from campaigns.messaging.tracking_links import add_tracking, click_url, location_of, read_click
from campaigns.models import ChannelSettings, Message
from config import ids
from tests.campaigns.messages import a_message, a_template

NO_IMAGE = ChannelSettings(options={"trackOpens": False})
TOKEN = re.compile(r"http://localhost:8000/c/([A-Za-z0-9_:-]+)")


def tracked(body):
    """Return the HTML as it leaves, with each tracked link written as <where it leads>."""
    message = Message(id=ids.uuid7(), body=body)
    return TOKEN.sub(_leads_to, add_tracking(message, NO_IMAGE))


def _leads_to(found):
    read = read_click(found[1])
    return f"<{read[1]}>" if read else found[0]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("?a=1&region=2", "?a=1&region=2"),
        ("?a=1&copy=2&copyright&times3&times=4&not=5", "?a=1&copy=2&copyright&times3&times=4&not=5"),
        ("?a=1&amp;region=2&amp=3&AMP;x", "?a=1&region=2&amp=3&x"),
        ("?a&copy;=1&copy", "?a©=1©"),
        ("?a&copy-b&copy&copy/", "?a©-b©©/"),
        ("&notit;&notin;&nosuch;&;&#;&#x;", "&notit;∉&nosuch;&;&#;&#x;"),
        ("&#169;&#169&#xA9;&#XA9&#0;&#xD800;&#x110000;", "©©©©���"),
        ("&lt;&gt;&quot;&#39;&apos;", "<>\"''"),
        ("a & b &", "a & b &"),
    ],
)
def test_a_value_says_what_a_browser_reads(written, said):
    assert html_markup.decoded(written) == said


@given(st.text(alphabet="&;=#xcopyregtimsampl19 ", max_size=40))
def test_what_is_escaped_is_read_as_it_was(text):
    assert html_markup.decoded(html.escape(text)) == text


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('<a href="https://x.test/?a=1&region=2&copy=3&times=4">', '<a href="<https://x.test/?a=1&region=2&copy=3&times=4>">'),
        ('<a href="https://x.test/?a=1&amp;region=2">', '<a href="<https://x.test/?a=1&region=2>">'),
        ("<a href='https://x.test/?a=1&copy=2'>", "<a href=\"<https://x.test/?a=1&copy=2>\">"),
        ("<a href=https://x.test/?a=1&copy=2>", "<a href=\"<https://x.test/?a=1&copy=2>\">"),
        ("<a href=https://x.test/ class=b>", "<a href=\"<https://x.test/>\" class=b>"),
        ("<A  CLASS=x\n HREF = 'HTTPS://X.test/'\n>", "<A  CLASS=x\n HREF = \"<HTTPS://X.test/>\"\n>"),
        ('<area shape="rect" href="http://x.test/">', '<area shape="rect" href="<http://x.test/>">'),
        ('<a\thref="\n https://x.test/a\n b\t\r\n ">', '<a\thref="<https://x.test/a b>">'),
        ('<a title="a > b" href="https://x.test/">', '<a title="a > b" href="<https://x.test/>">'),
        ('<a title="<a href=&quot;y&quot;>" href="https://x.test/"/>', '<a title="<a href=&quot;y&quot;>" href="<https://x.test/>"/>'),
        ('<a data-href="https://y.test" href="https://x.test">', '<a data-href="https://y.test" href="<https://x.test>">'),
        ('<a href="https://x.test/1" href="https://x.test/2">', '<a href="<https://x.test/1>" href="https://x.test/2">'),
        ('<a/href="https://x.test/">', '<a/href="<https://x.test/>">'),
        ('<a id="x"href="https://x.test/">', '<a id="x"href="<https://x.test/>">'),
        ('<a href="https&#58;//x.test/">', '<a href="<https://x.test/>">'),
        ('<a href="https://münchen.test/straße?q=ü">', '<a href="<https://münchen.test/straße?q=ü>">'),
        (
            '<!--[if mso]><v:roundrect xmlns:v="urn:x" href="https://x.test/"><a href="https://y.test/"><![endif]-->',
            '<!--[if mso]><v:roundrect xmlns:v="urn:x" href="<https://x.test/>"><a href="<https://y.test/>"><![endif]-->',
        ),
        (
            '<!--[if !mso]><!--><a href="https://x.test/"><!--<![endif]-->',
            '<!--[if !mso]><!--><a href="<https://x.test/>"><!--<![endif]-->',
        ),
        ('<![if !mso]><a href="https://x.test/"><![endif]>', '<![if !mso]><a href="<https://x.test/>"><![endif]>'),
        ('<p>a < b <a href="https://x.test/">', '<p>a < b <a href="<https://x.test/>">'),
    ],
)  # fmt: skip
def test_a_link_is_tracked_and_nothing_else_changes(body, expected):
    assert tracked(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        "<a href>",
        "<a href=>",
        '<a href="">',
        '<a name="https://x.test/">',
        '<a href="mailto:a@x.test?subject=b&copy=c">',
        '<a href="tel:+4912345">',
        '<a href="javascript:alert(1)">',
        '<a href="#top">',
        '<a href="/relative?a&copy=1">',
        '<a href="//x.test/">',
        '<a href="https://[broken/">',
        '<a href="https://">',
        '<a href="https://x.test:99999/">',
        '<a href="http://localhost:8000/unsubscribe/token">',
        '<a href="http://localhost:8000/c/token">',
        '<abbr href="https://x.test/">',
        '<link href="https://x.test/a.css">',
        '<base href="https://x.test/">',
        '<form action="https://x.test/?a&copy=1">',
        '<img src="https://x.test/?a&copy=1">',
        '<!-- <a href="https://x.test/"> -->',
        '<!--><!-- <a href="https://x.test/"> --!>',
        '<style>a:after { content: \'<a href="https://x.test/">\' }</style>',
        '<script>x = \'<a href="https://x.test/">\'</SCRIPT >',
        '<title><a href="https://x.test/"></title>',
        '<textarea><a href="https://x.test/"></textarea>',
        '</a href="https://x.test/">',
        '<!doctype html public "<a href=https://x.test/">',
        '<a href="https://x.test/',
        '<a href="https://x.test/"',
        "<!-- <a href=https://x.test/>",
        '&lt;a href="https://x.test/"&gt;',
        "<p title=<a href=https://x.test/>",
        "\x00<\ufeff\U0001f600 &region= \r\n",
    ],
)  # fmt: skip
def test_what_is_no_link_to_the_web_stays_as_it_is(body):
    assert tracked(body) == body


@given(st.text(alphabet="<>/!-=\"' \n&;ahrefstylcom[]:v.", max_size=80))
def test_every_other_byte_stays(body):
    message = Message(id=ids.uuid7(), body=body)

    assert add_tracking(message, NO_IMAGE) == body


@pytest.mark.parametrize(
    "part",
    ["<a ", "<a href=", "<!--", "<!--[if mso]>", "<style>", "</", "<a href='x' ", "<", "<a x=\"'", "&copy"],
)
def test_any_text_is_read_at_once(part):
    begun = real_time.thread_time()

    tracked(part * 100_000)

    assert real_time.thread_time() - begun < 5


def test_the_image_comes_before_the_end_of_the_body():
    body = '<body><!-- </body> --><p title="</body>">Hi</p></BODY >\n</html>'

    html_ = add_tracking(Message(id=ids.uuid7(), body=body), ChannelSettings())

    before, _, after = re.split(r"(<img [^>]*>)", html_)
    assert before + after == body
    assert after == "</BODY >\n</html>"


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("https://x.test/?a=1&region=2#c", "https://x.test/?a=1&region=2#c"),
        ("https://x.test/?", "https://x.test/?"),
        ("https://x.test/a b/ü?q=ü%20", "https://x.test/a%20b/%C3%BC?q=%C3%BC%20"),
        ("https://straße.test/", "https://xn--strae-oqa.test/"),
        ("https://me@München.test:8443/ü", "https://me@xn--mnchen-3ya.test:8443/%C3%BC"),
        ("https://[::1]:80/", "https://[::1]:80/"),
        ("https:\\\\x.test\\a\\b?c=\\#\\", "https://x.test/a/b?c=%5C#%5C"),
        ("https://[broken/", None),
        ("https://x.test:port/", None),
        ("https:///x", None),
        ("ftp://x.test/", None),
        ("//x.test/", None),
    ],
)
def test_where_a_click_leads_is_written_in_ascii(target, location):
    assert location_of(target) == location


@pytest.mark.parametrize(
    "target", ["https://[broken/", "https://x.test:port/", "nonsense", "https://x.test/" + "a" * 20_000]
)
def test_a_click_that_leads_nowhere_says_so(db, target):
    url = click_url(ids.uuid7(), target).removeprefix("http://localhost:8000")

    assert Client().get(url).status_code == 404


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<p>https://x.test/?a=1&amp;region=2&amp;copy=3", "https://x.test/?a=1&region=2&copy=3"),
        ("<p>AT&amp;T &amp;lt; &amp;amp; &lt;b&gt; &copy; &eacute;", "AT&T &lt; &amp; <b> © é"),
        ("<pre>a &amp;copy; b</pre>", "a &copy; b"),
        ("<p>a<!-- c -->b&amp;copy;<br>c&amp;reg</p>d&amp;reg", "ab&copy;\nc&reg\n\nd&reg"),
        ("<a href='#top'>Up</a> <a>x</a> <a href>y</a>", "[Up](#top) x y"),
        ("<?xml version='1.0' encoding='utf-8'?><p>Hi", "Hi"),
        ("<!-- nothing -->", ""),
        ("<a href=' https://x.test/\n&copy=1 '>Shop</a>", "[Shop](https://x.test/&copy=1)"),
        ("<a href='https://x.test/&amp;amp;'>Shop</a>", "[Shop](https://x.test/&amp;)"),
        (
            "<map><area href=https://x.test/?a&copy=1 alt='A &amp;reg'></map>",
            "[A &reg](https://x.test/?a&copy=1)",
        ),
    ],
)
def test_the_text_part_says_what_the_html_does(workspace, jane, body, text):
    assert a_message(jane, a_template(workspace, body)).text == text


@pytest.mark.parametrize("style", ["", "<style>a { color: red }</style>"])
def test_text_and_html_lead_to_the_same_place(workspace, jane, style):
    target = "https://x.test/?a=1&region=2&copy=3&times=4"
    body = f"{style}<p><a href='{target}'>Shop</a> <a href={target}>Plain</a></p>"

    message = a_message(jane, a_template(workspace, body))

    assert message.text == f"[Shop]({target}) [Plain]({target})"
    assert re.findall(r"/c/([A-Za-z0-9_:-]+)", add_tracking(message, NO_IMAGE))
    assert [read_click(token)[1] for token in TOKEN.findall(add_tracking(message, NO_IMAGE))] == [target] * 2
