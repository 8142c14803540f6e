"""What the supervisor starts, when, and what ends it."""

import subprocess
import sys
from pathlib import Path

from config.runtime.supervisor import Program, Supervisor

ROOT = Path(__file__).resolve().parents[3]
FOREVER = "import time; time.sleep(60)"


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def run_until(programs: list[Program], word: str) -> tuple[Supervisor, str]:
    """Run them until the word is shown, or until they end by themselves; return what was shown."""
    shown: list[str] = []
    supervisor = Supervisor(programs, shown.append)

    def look() -> None:
        supervisor.is_stopping |= word in "".join(shown)

    supervisor.run(look)
    return supervisor, "".join(shown)


def test_what_comes_after_another_waits_for_its_good_end():
    first = Program("first", python("import time; time.sleep(0.3); print('one')"), is_once=True)
    loaded = "import sys; print('loaded', flush=True); sys.stdin.read(); print('serving', flush=True)"
    early = Program("early", python(f"{loaded}; {FOREVER}"), after=first, waits_at_stdin=True)
    late = Program("late", python(f"print('three', flush=True); {FOREVER}"), after=first)
    asked: list[bool] = []

    def may_start() -> bool:
        asked.append(True)
        return len(asked) > 2

    last = Program("last", python(f"print('four', flush=True); {FOREVER}"), after=first, may_start=may_start)
    supervisor, shown = run_until([first, early, late, last], "four")
    order = [shown.index(word) for word in ("loaded", "one", "serving")]
    assert order == sorted(order)
    assert shown.index("one") < shown.index("three") < shown.index("four")
    assert not supervisor.has_failed


def test_a_bad_end_of_what_should_end_well_ends_everything():
    first = Program("first", python("import sys; sys.exit('no database')"), is_once=True)
    after = Program("after", python("print('started')"), after=first)
    supervisor, shown = run_until([first, after, Program("other", python(FOREVER))], "never shown")
    assert supervisor.has_failed
    assert "no database" in shown
    assert "started" not in shown


def test_a_line_that_is_taken_is_not_shown():
    heard: list[str] = []

    def hear(line: str) -> bool:
        heard.append(line)
        return line == "secret"

    code = f"print('secret'); print('public', flush=True); {FOREVER}"
    _, shown = run_until([Program("one", python(code), hear=hear)], "public")
    assert heard[:2] == ["secret", "public"]
    assert "secret" not in shown


def test_the_supervisor_loads_no_library():
    code = (
        "import sys; before = set(sys.modules); import config.runtime.all_in_one;"
        "print({name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'config'}"
