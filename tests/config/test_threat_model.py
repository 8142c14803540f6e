"""What documents say of tests: each claim of the threat model names one that there is, and each proof is listed."""

import re

from tests.homes import ROOT

NAMED = re.compile(r"`([\w/]+\.py)(?:::(\w+))?`")


def test_every_test_that_the_threat_model_names_is_there():
    named = NAMED.findall((ROOT / "docs" / "threat-model.md").read_text())
    assert len(named) > 40
    for file, name in named:
        text = (ROOT / "tests" / file).read_text()
        assert not name or f"def {name}(" in text, (file, name)


def test_every_proof_is_listed():
    text = (ROOT / "tests" / "README.md").read_text()
    assert [
        path.stem for path in (ROOT / "tests/proof").glob("test_*.py") if f"`{path.stem}`" not in text
    ] == []
