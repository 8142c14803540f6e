"""No hole in a message: whatever a template does with a missing value, and nothing prints as Python."""

import json
import re

import pytest

from campaigns.errors import TemplateFault, ValueMissing
from campaigns.messaging import liquid

VALUES = {
    "contact": {
        "firstName": "Jane",
        "lastName": "",
        "nickName": " \t",
        "invisible": "\u200b\u2060\xad\ufeff\xa0",
        "score": 5.0,
        "attributes": {"plan": None, "sizes": [1, 2], "vip": True, "limits": {"day": 3}},
    },
    "rows": [{"title": "Shoes", "price": 9.5}, {"title": None, "price": 2}, {"title": "", "price": 1}],
    "holes": ["a", None, "b"],
    "nothing": [],
}
MISSING = (
    "nobody",
    "nobody.at.all",
    "contact.lastName",
    "contact.nickName",
    "contact.invisible",
    "contact.attributes.plan",
    "contact.attributes.plan.size",
    "contact.lastName.size",
    "contact.lastName.first",
    "contact.firstName.first",
    "contact.score.size",
    "contact.score.first",
    "contact.attributes.vip.last",
    "contact.attributes.sizes[7]",
    "contact.attributes.sizes.first.first",
    "rows[1].title",
    "rows[2].title",
    "holes[1]",
    "nothing.first",
    "nil",
)
_ONE = (
    "append at_least at_most concat divided_by find find_index has map minus modulo money plus prepend reject remove"
    " remove_first remove_last replace_first slice split times where"
)
ARGUMENTS = {
    **{name: ["2"] for name in _ONE.split(" ")},
    "replace": ["'a'", "'b'"],
    "replace_last": ["'a'", "'b'"],
}
FILTERS = sorted(liquid._environment("text").filters)


def rendered(source, kind="text"):
    return liquid.render(source, VALUES, kind)


def filtered(name):
    arguments = ", ".join(ARGUMENTS.get(name, []))
    return f"{name}: {arguments}" if arguments else name


@pytest.mark.parametrize("value", MISSING)
def test_a_missing_value_is_not_printed(value):
    for source in (
        f"{{{{ {value} }}}}",
        f"{{% echo {value} %}}",
        f"{{% assign x = {value} %}}{{{{ x }}}}",
        f"{{% capture x %}}{{{{ {value} }}}}{{% endcapture %}}",
        f"{{% cycle {value}, 'a' %}}",
        f"{{% cycle 'a', {value} %}}",
    ):
        for kind in ("text", "html", "json"):
            with pytest.raises(ValueMissing):
                rendered(source, kind)


@pytest.mark.parametrize("name", sorted(set(FILTERS) - {"default", "json"}))
def test_a_missing_value_passes_no_filter(name):
    for value in ("nobody", "contact.lastName", "contact.attributes.plan", "rows[1].title"):
        for source in (
            f"{{{{ {value} | {filtered(name)} }}}}",
            f"{{% assign x = {value} | {filtered(name)} %}}",
            f"{{{{ {value} | {filtered(name)} | default: 'x' }}}}",
        ):
            with pytest.raises(ValueMissing):
                rendered(source)


@pytest.mark.parametrize("value", ["nobody", "contact.lastName", "contact.attributes.plan"])
@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_no_filter_takes_a_missing_argument(name, value):
    arguments = ARGUMENTS[name]
    for place in range(len(arguments)):
        given = ", ".join([*arguments[:place], value, *arguments[place + 1 :]])
        left = "rows" if name in ("concat", "find", "find_index", "has", "map", "reject", "where") else "'5'"
        with pytest.raises(ValueMissing):
            rendered(f"{{{{ {left} | {name}: {given} }}}}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ 5 | round: nobody }}",
        "{{ 'a b' | truncate: nobody }}",
        "{{ 'a b' | truncate: 3, nobody }}",
        "{{ 'a b' | truncatewords: 1, nobody }}",
        "{{ 'abc' | slice: 0, nobody }}",
        "{{ 'now' | date: nobody }}",
        "{{ rows | sort: nobody }}",
        "{{ rows | sum: nobody }}",
        "{{ rows | where: 'title', nobody }}",
        "{{ rows | uniq: nobody }}",
        "{{ rows | compact: nobody }}",
        "{{ 5 | money: 'EUR', locale: nobody }}",
        "{{ 'now' | date: '%H', zone: contact.lastName }}",
        "{{ nobody | default: nobody }}",
        "{{ nobody | default: contact.lastName }}",
        "{{ nobody | json }}",
        "{{ nobody.at.all | json }}",
        "{{ nothing | first }}",
        "{{ nothing | last }}",
        "{{ 5 | first }}",
        "{{ contact.firstName | first }}",
        "{{ rows | find: 'title', 'Hats' }}",
        "{{ rows | find_index: 'title', 'Hats' }}",
        "{{ contact.score | size }}",
        "{{ contact.attributes.vip | size }}",
        "{{ rows | map: 'title' | join: ', ' }}",
        "{{ rows[contact.attributes.vip] }}",
        "{{ rows | map: 'title' }}",
        "{{ rows | map: 'colour' | first }}",
        "{{ rows | sum: 'title' }}",
        "{{ rows | sum: 'colour' }}",
        "{{ holes }}",
        "{{ holes | join }}",
        "{{ holes | sum }}",
        "{{ '' | append: holes }}",
        "{% for one in holes %}{{ one }}{% endfor %}",
        "{% for one in nobody %}x{% else %}y{% endfor %}",
        "{% for one in contact.lastName %}x{% else %}y{% endfor %}",
        "{% for one in contact.attributes.plan %}x{% else %}y{% endfor %}",
        "{% tablerow one in nobody %}x{% endtablerow %}",
        "{% for one in rows limit: nobody %}x{% endfor %}",
        "{% for one in rows offset: contact.lastName %}x{% endfor %}",
        "{% tablerow one in rows cols: nobody %}x{% endtablerow %}",
        "{% for one in (1..nobody) %}x{% endfor %}",
        "{% for one in (contact.lastName..3) %}x{% endfor %}",
        "{% cycle nobody: 'a', 'b' %}",
        "{{ rows[nobody] }}",
        "{{ rows[nobody] | default: 'x' }}",
        "{% if contact[contact.lastName] %}{% endif %}",
        "{% case nobody %}{% when 'a' %}x{% else %}y{% endcase %}",
        "{% case 'a' %}{% when nobody %}x{% else %}y{% endcase %}",
        "{% case contact.lastName %}{% when 'a' or 'b' %}x{% endcase %}",
        "{% case contact.lastName %}{% when 'a' or blank %}x{% endcase %}",
        "{% case nobody %}{% when 'a' %}x{% when nil %}y{% endcase %}",
        "{% case nobody %}{% else %}y{% endcase %}",
        "{% case nobody %}{% endcase %}",
        "{% liquid\nfor one in nobody\necho one\nendfor %}",
    ],
)
def test_every_other_use_of_a_missing_value_is_refused(source):
    with pytest.raises(ValueMissing):
        rendered(source)


@pytest.mark.parametrize(
    "value", ["nobody", "contact.lastName", "contact.nickName", "contact.attributes.plan"]
)
@pytest.mark.parametrize("operator", ["==", "!=", "<>", "<", ">", "<=", ">=", "contains"])
def test_a_comparison_with_a_missing_value_is_refused(value, operator):
    operands = ("'gold'", "5", "true", "false", "contact.firstName", "rows", "nobody.there")
    sides = [(value, operand) for operand in operands] + [(operand, value) for operand in operands]
    for condition in (f"{left} {operator} {right}" for left, right in sides):
        for tag in ("if", "unless"):
            with pytest.raises(ValueMissing):
                rendered(f"{{% {tag} {condition} %}}a{{% else %}}b{{% end{tag} %}}")
        with pytest.raises(ValueMissing):
            rendered(f"{{% if false %}}{{% elsif {condition} %}}a{{% endif %}}")


@pytest.mark.parametrize(
    "value", ["nobody", "contact.lastName", "contact.nickName", "contact.attributes.plan"]
)
@pytest.mark.parametrize("nothing", ["nil", "null", "blank", "empty", "''"])
def test_a_condition_may_test_whether_a_value_is_there(value, nothing):
    for condition, answer in (
        (value, "no"),
        (f"{value} == {nothing}", "yes"),
        (f"{nothing} == {value}", "yes"),
        (f"{value} != {nothing}", "no"),
        (f"{value} <> {nothing}", "no"),
        (f"{value} and {value} == 'gold'", "no"),
        (f"{value} or contact.firstName", "yes"),
        (f"contact.firstName == {nothing}", "no"),
        (f"contact.firstName != {nothing}", "yes"),
    ):
        assert rendered(f"{{% if {condition} %}}yes{{% else %}}no{{% endif %}}") == answer
        assert rendered(f"{{% unless {condition} %}}no{{% else %}}yes{{% endunless %}}") == answer
    for whens in (
        f"when {nothing} %}}none",
        f"when {nothing}, 'gold' %}}none",
        f"when {nothing} %}}none{{% when 'gold' %}}gold{{% when {nothing} %}}again",
    ):
        case = f"{{% case {value} %}}{{% {whens}{{% else %}}some{{% endcase %}}"
        assert rendered(case) == "none"


@pytest.mark.parametrize(
    ("source", "printed"),
    [
        ("{{ nobody | default: 'you' }}", "you"),
        ("{{ contact.lastName | default: 'you' | upcase }}", "YOU"),
        ("{{ contact.nickName | default: contact.lastName | default: 'you' }}", "you"),
        ("{{ contact.firstName | default: nobody }}", "Jane"),
        ("{% assign x = contact.lastName | default: 'you' %}{{ x }}", "you"),
        ("{{ rows | map: 'title' | compact | join: ', ' }}", "Shoes"),
        ("{{ rows | find: 'title', 'Hats' | default: 'none' }}", "none"),
        ("{{ nothing | first | default: 'none' }}", "none"),
        ("{% assign x = '' %}{% if contact.firstName %}{% assign x = 'Hi' %}{% endif %}{{ x }}", "Hi"),
        ("{% assign x = '' %}[{{ x }}]", "[]"),
        ("{{ 'a,,b' | split: ',' | join: '-' }}", "a--b"),
        ("{{ contact.attributes.vip }}", "true"),
        ("{{ 0 }}{{ 0 | default: 5 }}", "00"),
        ("{{ contact.firstName.size }}{{ contact.attributes.sizes.size }}{{ nothing.size }}", "420"),
        ("{{ contact.attributes.sizes.first }}{{ contact.attributes.sizes.last }}", "12"),
        ("{% for one in nothing %}x{% else %}none{% endfor %}", "none"),
        ("{{ rows | sum: 'price' }}", "12.5"),
        ("{{ rows | where: 'title' | map: 'title' }}", "Shoes"),
        ("{{ rows | where: 'price', 2 | map: 'price' }}", "2"),
        ("{{ rows | where: 'price', true | size }}", "0"),
        ("{{ rows | reject: 'title' | map: 'price' | join: ' ' }}", "2 1"),
        ("{{ rows | reject: 'price', 2 | size }}", "2"),
        (
            "{{ rows | find_index: 'price', 2 }} {{ rows | has: 'title', 'Hats' }} {{ rows | has: 'title' }}",
            "1 false true",
        ),
        ("{{ rows | sort: 'title' | map: 'price' | join: ' ' }}", "9.5 2 1"),
        ("{{ contact.attributes.sizes | plus: 1 | default: 'x' }}", None),
    ],
)
def test_what_may_be_said_of_values_is_said(source, printed):
    if printed is None:
        with pytest.raises(TemplateFault):
            rendered(source)
    else:
        assert rendered(source) == printed


PYTHON = re.compile(r"[\[\]{}()]|None|True|False|Decimal|datetime|Undefined|<")


@pytest.mark.parametrize("kind", ["text", "html", "json"])
@pytest.mark.parametrize(
    "source",
    [
        "{{ contact.attributes.sizes }}",
        "{{ contact.attributes.sizes | append: '!' }}",
        "{{ '!' | append: contact.attributes.sizes }}",
        "{{ '!' | prepend: contact.attributes.vip }}",
        "{{ contact.attributes.vip | upcase }}",
        "{{ contact.attributes.vip | append: '' }}",
        "{{ contact.attributes.sizes | upcase }}",
        "{{ contact.attributes.sizes | split: '' }}",
        "{{ contact.attributes.sizes | slice: 0, 2 }}",
        "{{ contact.attributes.limits.first }}",
        "{{ contact.attributes.limits | first }}",
        "{{ contact.attributes.limits | first | join: ' ' }}",
        "{% for one in contact.attributes.limits %}{{ one }}{{ one[0] }}{{ one | join: ' ' }}{% endfor %}",
        "{% for one in contact.attributes.limits %}{{ one | append: '!' }}{% endfor %}",
        "{{ 'a b' | split: ' ' | replace: 'a', contact.attributes.sizes }}",
        "{{ rows | where: 'title', 'Shoes' | map: 'price' }}",
        "{{ 10000000000 | times: 10000000000.0 }}",
        "{{ now }} {{ today }}",
        "{{ blank }}{{ empty }}",
        "{% cycle contact.attributes.sizes %}",
    ],
)
def test_no_value_prints_as_a_python_repr(source, kind):
    printed = rendered(source, kind)

    assert not PYTHON.search(printed)
    assert "e+" not in printed


@pytest.mark.parametrize("kind", ["text", "html", "json"])
@pytest.mark.parametrize(
    "source",
    [
        "{{ contact }}",
        "{{ contact.attributes }}",
        "{{ rows }}",
        "{{ rows | first }}",
        "{{ rows | join: ', ' }}",
        "{{ contact.attributes | append: 'x' }}",
        "{{ 'x' | append: contact }}",
        "{{ contact | upcase }}",
        "{{ contact | split: ',' }}",
        "{{ contact | escape }}",
        "{{ rows | sort_natural }}",
        "{{ contact | plus: 1 }}",
        "{{ contact | date: '%Y' }}",
        "{% for one in rows %}{{ forloop }}{% endfor %}",
        "{% tablerow one in rows %}{{ tablerowloop }}{% endtablerow %}",
        "{% cycle contact %}",
        "{{ rows | compact: 'colour' | uniq: 'colour' | plus: 1 }}",
        "{{ 'abc' | plus: 1 }}",
        "{{ true | plus: 1 }}",
        "{{ 1 | plus: '1_000' }}",
        "{{ 1 | times: 'nan' }}",
        "{{ rows | compact: 5 | first | upcase }}",
        "{{ 'x' | map: 'y' }}",
        "{{ holes | concat: contact }}",
        "{{ holes | concat: 'x' }}",
    ],
)
def test_an_object_is_no_text(source, kind):
    with pytest.raises((TemplateFault, ValueMissing)):
        rendered(source, kind)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("contact", VALUES["contact"]),
        ("contact.attributes", VALUES["contact"]["attributes"]),
        ("contact.attributes.plan", None),
        ("contact.lastName", ""),
        ("contact.nickName", " \t"),
        ("rows", VALUES["rows"]),
        ("rows[1].title", None),
        ("holes", VALUES["holes"]),
        ("nothing", []),
    ],
)
@pytest.mark.parametrize("kind", ["text", "json"])
def test_json_keeps_null_and_blank(path, value, kind):
    assert json.loads(rendered(f"{{{{ {path} | json }}}}", kind)) == value
    assert json.loads(rendered(f"{{% assign x = {path} %}}{{{{ x | json }}}}", kind)) == value


def test_now_is_our_clock_s_and_prints_as_a_moment(time):
    assert rendered("{{ now }}") == "2026-05-01T12:00:00.000Z"
    assert rendered("{{ today }}") == "2026-05-01"
    assert rendered("{{ now | date: '%d.%m.%Y' }}") == "01.05.2026"


def test_every_filter_is_one_that_we_know():
    assert set(ARGUMENTS) <= set(FILTERS)
    assert "safe" not in FILTERS
