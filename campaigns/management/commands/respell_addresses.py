"""The command `respell_addresses`: normalize addresses that were stored in another spelling."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError, transaction

from campaigns.messaging.suppressions import respell_suppressions
from config.values.emails import canonical_email
from contacts.merging.normalization import NormalizationResult, normalize_identifiers
from contacts.models import Identifier
from workspaces.management.progress import ProgressDisplay
from workspaces.management.selection import add_workspaces, chosen_workspaces
from workspaces.models import User, Workspace


class Command(BaseCommand):
    """`respell_addresses`: of contacts, suppressions and users; safe to run again."""

    help = (
        "Bring e-mail addresses, phone numbers and ids into their one form: contacts that turn out to be one person"
        " are merged, suppressions get the form, and what cannot be read is listed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        add_workspaces(parser)
        parser.add_argument("--by", default="respell_addresses", help="Who merges, for the record.")
        parser.add_argument("--dry-run", action="store_true", help="Tell what would be done, and do nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Respell workspace by workspace, and print counts. Exits with 1 where something is left to decide."""
        is_dry: bool = options["dry_run"]
        left = 0
        for workspace in chosen_workspaces(options):
            done = self._normalize(workspace, options["by"], is_dry=is_dry)
            suppressed, twice = respell_suppressions(workspace.id, is_dry=is_dry)
            left += self._tell_left(done)
            self.stdout.write(
                f"{workspace.id}: {done.respelled:,} identifiers respelled, {done.dropped:,} second spellings"
                f" dropped, {done.merged:,} contacts merged, {len(done.unreadable):,} unreadable,"
                f" {len(done.erased):,} of erased persons; {suppressed:,} suppressions respelled,"
                f" {twice:,} dropped"
            )
        users, taken = _respell_users(is_dry=is_dry)
        left += len(taken)
        for name in taken:
            self.stderr.write(f"user {name}: another has the address")
        self.stdout.write(f"{users:,} users respelled{'; nothing was changed' if is_dry else ''}")
        if left:
            raise CommandError("Some are left to decide by hand.", returncode=1)

    def _normalize(self, workspace: Workspace, by: str, *, is_dry: bool) -> NormalizationResult:
        total = Identifier.objects.in_workspace(workspace.id).count()
        with ProgressDisplay(self.stderr, workspace.name, "identifiers") as display:
            display.begin(0, total)
            return normalize_identifiers(
                workspace.id, by=by, is_dry=is_dry, on_progress=lambda count: display.update(count, total)
            )

    def _tell_left(self, done: NormalizationResult) -> int:
        for why, rows in (("no address", done.unreadable), ("of an erased person", done.erased)):
            for contact_id, kind, value in rows:
                self.stderr.write(f"{contact_id} {kind} {value!r}: {why}")
        return len(done.unreadable) + len(done.erased)


def _respell_users(*, is_dry: bool) -> tuple[int, list[str]]:
    respelled, taken = 0, []
    for user in User.objects.exclude(email="").order_by("id"):
        email = canonical_email(user.email)
        if email is None or email == user.email:
            continue
        try:
            with transaction.atomic():
                User.objects.filter(pk=user.pk).update(email=email)
                transaction.set_rollback(is_dry)
            respelled += 1
        except IntegrityError:
            taken.append(user.username)
    return respelled, taken
