"""The commands: a dump into a folder, a plan with its exit status, an application in somebody's name."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command, execute_from_command_line

from campaigns.configuration.plans import dump_configuration
from campaigns.models import Template
from tests.campaigns.configuration.factories import fill
from tests.workspaces.factories import UserFactory, WorkspaceFactory


def run(command, folder, workspace, *options):
    """Return the exit status of a command and the lines that it prints."""
    out, status = StringIO(), 0
    try:
        call_command(command, str(folder), "--workspace", str(workspace.id), *options, stdout=out)
    except SystemExit as exit_:
        status = exit_.code
    return status, out.getvalue().splitlines()


def test_a_folder_is_dumped_planned_and_applied(workspace, tmp_path):
    fill(workspace)
    user = UserFactory.create()
    assert run("dump_configuration", tmp_path, workspace) == (0, ["13 files written, 0 removed"])
    status, lines = run("plan_configuration", tmp_path, workspace)
    assert (status, lines[0]) == (0, "0 created, 0 changed, 0 deleted, 0 unmanaged")
    file = tmp_path / "templates/thanks.yaml"
    file.write_text(file.read_text().replace("subject: Hello", "subject: Good day"))
    status, lines = run("plan_configuration", tmp_path, workspace)
    assert status == 2
    assert {"-subject: Hello", "+subject: Good day", "changed: templates/thanks.yaml"} <= set(lines)
    fingerprint = lines[-1].removeprefix("fingerprint: ")
    expected = ("--user", user.email, "--expect", fingerprint)
    status, lines = run("apply_configuration", tmp_path, workspace, *expected)
    assert lines == ["changed: templates/thanks.yaml", "0 created, 1 changed, 0 deleted, 0 unmanaged"]
    with pytest.raises(CommandError, match="changed since the plan"):
        run("apply_configuration", tmp_path, workspace, *expected)
    Template.objects.get().delete()
    assert run("dump_configuration", tmp_path, workspace) == (0, ["12 files written, 1 removed"])


def test_the_last_file_is_bad_and_nothing_is_applied(workspace, tmp_path):
    fill(workspace)
    run("dump_configuration", tmp_path, workspace)
    (tmp_path / "campaigns/zzz.yaml").write_text("name: Last\ntype: AUTOMATED\ngoal: {within: soon}\n")
    empty = WorkspaceFactory.create()
    before = dump_configuration(empty.id)
    for command, options in (
        ("plan_configuration", ()),
        ("apply_configuration", ("--user", UserFactory.create().username)),
    ):
        with pytest.raises(CommandError, match=r"campaigns/zzz\.yaml: goal"):
            run(command, tmp_path, empty, *options)
        assert dump_configuration(empty.id) == before


def test_wrong_options_are_no_differences(capsys):
    with pytest.raises(SystemExit) as exit_:
        execute_from_command_line(["manage.py", "plan_configuration", ".", "--no-such-option"])
    assert exit_.value.code == 1
    assert "--workspace" in capsys.readouterr().err


def test_what_cannot_be_is_an_error(workspace, tmp_path):
    user = UserFactory.create(is_active=False)
    with pytest.raises(CommandError, match="There is no folder"):
        run("plan_configuration", tmp_path / "none", workspace)
    with pytest.raises(CommandError, match="none of the sub-folders"):
        run("plan_configuration", tmp_path, workspace)
    run("dump_configuration", tmp_path, workspace)
    with pytest.raises(CommandError, match="There is no active user"):
        run("apply_configuration", tmp_path, workspace, "--user", user.username)
    with pytest.raises(CommandError, match="There is no workspace"):
        call_command("dump_configuration", str(tmp_path), "--workspace", "nonsense")
