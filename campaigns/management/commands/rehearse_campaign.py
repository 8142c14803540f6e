"""The command `rehearse_campaign`: try a campaign on the past."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError

from campaigns.errors import InvalidRehearsal
from campaigns.models import Campaign, Rehearsal
from campaigns.rehearsal.rehearsals import DRAFT, order_rehearsal, run_rehearsal
from config.errors import DomainError
from config.http.rendering import dumps
from config.ids import NO_ID, parse_uuid
from workspaces.management.progress import ProgressDisplay

_OPTIONS: Final = {"since": "--from", "until": "--to", "versions": "--versions"}


class Command(BaseCommand):
    """Rehearse a campaign and print the report; exit status 1 if it could not be rehearsed."""

    help = "Run a campaign over past events on a virtual clock; nothing is written but the report."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("campaign", help="The campaign's id.")
        parser.add_argument("--from", dest="since", required=True, help="Events from then on: ISO 8601.")
        parser.add_argument("--to", dest="until", required=True, help="Events before: ISO 8601.")
        parser.add_argument(
            "--versions",
            nargs="+",
            default=[],
            help="`draft` or the number of a version, or two of them to compare. By default what serves.",
        )
        parser.add_argument(
            "--json", action="store_true", help="Print the whole report, with the counts by step."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Rehearse. Raises CommandError."""
        campaign = Campaign.objects.filter(id=parse_uuid(options["campaign"]) or NO_ID).first()
        if campaign is None:
            raise CommandError(f"There is no campaign {options['campaign']}.")
        versions = [
            version if version == DRAFT else int(version) if version.isdigit() else 0
            for version in options["versions"]
        ]
        since, until = _moment(options["since"]), _moment(options["until"])
        try:
            rehearsal = order_rehearsal(
                campaign, since, until, versions, actor="rehearse_campaign", is_run_by_caller=True
            )
        except InvalidRehearsal as error:
            raise CommandError(f"{_OPTIONS[error.field]}: {error.sentence}") from error
        except DomainError as error:
            raise CommandError(error.sentence) from error
        with ProgressDisplay(self.stderr, campaign.name, "per cent") as display:
            display.begin(0, 100)
            run_rehearsal(rehearsal, report_progress=lambda share: display.update(int(share * 100), 100))
        if rehearsal.status == Rehearsal.Status.FAILED:
            raise CommandError(rehearsal.error)
        if options["json"]:
            self.stdout.write(dumps(rehearsal.report).decode())
            return
        for report in rehearsal.report["versions"]:
            self.stdout.write(f"{campaign.name}, {report['label']}: {_counts(report)}")
        if differences := rehearsal.report["differences"]:
            both, first, second = (f"{differences[key]:,}" for key in ("both", "onlyFirst", "onlySecond"))
            self.stdout.write(
                f"Contacts: {both} enter both, {first} the first only, {second} the second only"
            )


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"{text} is no time in ISO 8601.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _counts(report: dict[str, Any]) -> str:
    sent = sum(counts["by_status"].get("SENT", 0) for counts in report["messages"].values())
    kept_out, refused, deferred = (
        sum(report[key].values()) for key in ("not_entered", "not_sent", "deferred")
    )
    return (
        f"{report['events']:,} events, {report['entered']:,} entered, {kept_out:,} did not,"
        f" {sent:,} messages sent, {refused:,} refused, {deferred:,} deferred"
    )
