"""No retired word comes back: one thing has one word, in code, documents, tables and tests."""

import re
import subprocess

from tests.docs.pages import ROOT

WORDS = ROOT / "tests/docs/retired_words.txt"
KINDS = (".py", ".md", ".html", ".js", ".sql", ".toml")


def _files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    found = listed or [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if ".venv" not in path.parts]
    return [name for name in found if name.endswith(KINDS) and name != "CHANGELOG.md"]


def test_no_retired_word_comes_back():
    lines = [line.split() for line in WORDS.read_text().splitlines() if not line.startswith("#")]
    instead = dict(lines)
    retired = re.compile(r"\w+")
    found = {
        f"{name}: {word} is called {instead[word]}"
        for name in _files()
        if (ROOT / name).exists()
        for word in retired.findall((ROOT / name).read_text())
        if word in instead
    }
    assert sorted(found) == []


def test_the_glossary_names_what_there_is():
    """A class or module that the glossary names is in the code."""
    text = (ROOT / "docs/glossary.md").read_text()
    code = "".join(
        (ROOT / name).read_text()
        for name in _files()
        if name.endswith(".py") and not name.startswith("tests/")
    )
    for name in re.findall(r"`([A-Za-z_.]+(?:\(\))?)` \|$|, `([A-Za-z_.]+)` \|$", text, re.M):
        word = (name[0] or name[1]).rpartition(".")[2].removesuffix("()")
        assert re.search(rf"\b{word}\b", code), word
    for path in re.findall(r"`([a-z_]+/[a-z_/]+(?:\.py)?/?)`", text):
        assert (ROOT / path).exists() or (ROOT / f"{path}.py").exists(), path
