"""Every environment variable that Headrace reads, in one table: its type, default, unit and meaning.

`env("NAME")` reads one; an empty variable counts as not set. docs/configuration.md shows the same table.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TRUE = {"1", "true", "yes", "on", "y", "ok"}
_FALSE = {"0", "false", "no", "off", "n"}


class InvalidVariable(Exception):
    """A value that is not of the variable's type; not Django's error, for `run` does not load Django."""


@dataclass(frozen=True, slots=True)
class Computed:
    """A default that the reader of the variable computes, described for the documentation."""

    description: str


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable: `type` is str, bool, int, float or list (of texts, separated by commas)."""

    name: str
    type: type
    default: Any
    meaning: str
    unit: str = ""

    def parse(self, text: str) -> Any:
        """Return the value that `text` spells. Raises InvalidVariable."""
        if self.type is bool:
            if (word := text.strip().lower()) not in _TRUE | _FALSE:
                raise InvalidVariable(f"{self.name} must be 1 or 0, on or off")
            return word in _TRUE
        if self.type is list:
            return [item for part in text.split(",") if (item := part.strip())]
        if self.type is str:
            return text
        try:
            number = self.type(text)
        except ValueError:
            number = math.nan
        if not 0 <= number < math.inf:
            kind = "whole number" if self.type is int else "number"
            raise InvalidVariable(f"{self.name} must be a {kind}, 0 or more")
        return number


def env(name: str, default: Any = None) -> Any:
    """Return the value of a variable of the table. `default` is for those whose default is computed.

    Raises InvalidVariable where the value is not of the variable's type.
    """
    variable = VARIABLES[name]
    if text := os.environ.get(name):
        return variable.parse(text)
    return default if isinstance(variable.default, Computed) else variable.default


def _time_limits() -> tuple[Variable, ...]:
    """Return the variables of config.db.timeouts: four limits for each kind of work."""
    limits = (
        ("CONNECT_TIMEOUT", "to connect to the database"),
        ("LOCK_TIMEOUT", "to wait for a lock"),
        ("STATEMENT_TIMEOUT", "for one statement"),
        ("IDLE_TRANSACTION", "for which a transaction may be idle"),
    )
    kinds: dict[str, tuple[str, tuple[float, ...]]] = {
        "WEB": ("requests", (5.0, 5.0, 15.0, 15.0)),
        "INGEST": ("events of requests, written in groups", (5.0, 5.0, 10.0, 15.0)),
        "EFFECTS": ("scores, segments, journeys, beat and the PGMQ queue", (10.0, 20.0, 30.0, 60.0)),
        "BACKGROUND": ("all other work of a worker", (10.0, 60.0, 300.0, 300.0)),
        "COMMAND": ("`manage.py`, migrations included", (10.0, 60.0, 0.0, 0.0)),
    }
    return tuple(
        Variable(
            f"{kind}_{limit}_SECONDS",
            float,
            default,
            f"Most time {meaning}, for {work}; 0: no limit.",
            "seconds",
        )
        for kind, (work, defaults) in kinds.items()
        for (limit, meaning), default in zip(limits, defaults, strict=True)
    )


# fmt: off
GROUPS: Mapping[str, tuple[Variable, ...]] = {
    "Installation": (
        Variable("PRODUCTION", bool, False,
            "Demand secrets and hosts of your own, HTTPS and secure cookies."),
        Variable("DEBUG", bool, False, "Show code, settings and rows on error pages; never in production."),
        Variable("HEADRACE_HOME", str, Computed("`var` beside the code"),
            "Folder of the embedded database, generated secrets and metrics files."),
        Variable("HOST", str, "127.0.0.1", "Address that `make run` listens on."),
        Variable("PORT", int, 8000, "Port that `make run` listens on."),
        Variable("PUBLIC_URL", str, Computed("that of `make run`, else `http://localhost:8000`"),
            "Address at which the world reaches this installation; links in messages begin with it."),
        Variable("ALLOWED_HOSTS", list, Computed("every host; in production none"),
            "Host names under which requests are answered."),
        Variable("CSRF_TRUSTED_ORIGINS", list, [],
            "Origins, `https://headrace.example` say, whose pages may post to the admin."),
        Variable("PROXY_COUNT", int, 0,
            "Proxies of yours in front that each append to `X-Forwarded-For`; 0: the peer is the client.",
            "proxies"),
        Variable("STATIC_ROOT", str, None,
            "Folder that `collectstatic` fills; without it static files are served from the packages."),
        Variable("SECURE_SSL_REDIRECT", bool, True, "Redirect HTTP to HTTPS in production."),
        Variable("SECURE_HSTS_SECONDS", int, 31_536_000,
            "How long browsers are told to use HTTPS only, in production.", "seconds"),
        Variable("SECURE_HSTS_INCLUDE_SUBDOMAINS", bool, False,
            "Extend that to subdomains; only where each of them speaks HTTPS."),
        Variable("SECURE_HSTS_PRELOAD", bool, False,
            "Allow the domain in browsers' preload lists, which is for good."),
    ),
    "Secrets": (
        Variable("SECRET_KEY", str, Computed("made in `HEADRACE_HOME/secret_key`; none in production"),
            "Signs sessions, JWTs and links in messages; 50 random characters or more."),
        Variable("SECRET_KEY_FALLBACKS", list, [],
            "Former values of `SECRET_KEY`: what they signed is accepted, nothing new is signed with"
            " them."),
        Variable("ERASURE_KEY", str, Computed("made in `HEADRACE_HOME/erasure_key`; none in production"),
            "Erased persons are recognised by hashes under this key: with another one nobody is."),
        Variable("ERASURE_KEY_FALLBACKS", list, [],
            "Former values of `ERASURE_KEY`: who was erased under them is still recognised."),
        Variable("ERASURE_SETTLE_SECONDS", int, 3600,
            "After this time nothing that was in progress when a person was erased can still write.",
            "seconds"),
    ),
    "Database and broker": (
        Variable("DATABASE_URL", str, Computed("the embedded server"),
            "PostgreSQL 15 or newer, `postgres://user:password@host/name?sslmode=verify-full`; the query"
            " goes to libpq."),
        Variable("CELERY_BROKER_URL", str, "pgmq://localhost",
            "Broker: `pgmq://` is a queue in Django's database; or `redis://`, `rediss://`, `amqp://`,"
            " `amqps://`."),
        Variable("BROKER_QUEUE", str, "headrace",
            "Queue, and prefix of every key in Redis; installations that share a broker need different"
            " ones. Long work has another queue, with `-long` behind the name."),
        Variable("BROKER_VISIBILITY_SECONDS", int, 60,
            "After this time the message of a killed worker is delivered again (PGMQ, Redis).", "seconds"),
        Variable("HEARTBEAT_SECONDS", int, 30,
            "How often a task records that beat, broker and workers are alive.", "seconds"),
        Variable("EFFECTS_BATCH_SIZE", int, 5000,
            "Most events whose effects one transaction applies.", "events"),
    ),
    "Database time limits": (
        *_time_limits(),
        Variable("SILENCE_GRACE_SECONDS", float, 5.0,
            "How much longer than a statement's limit the client waits for a silent server.", "seconds"),
    ),
    "Web processes": (
        Variable("HEADRACE_WEB", bool, False, "This is a web process; `config.runtime.granian` sets it."),
        Variable("WEB_THREADS", int, 4,
            "Database connections of a web process, each checked out while a request uses the database.",
            "connections"),
        Variable("WEB_INGEST_CONNECTIONS", int, 1,
            "More connections, for requests that only record events.", "connections"),
        Variable("WEB_WORKSPACE_CONNECTIONS", int, Computed("half of `WEB_THREADS`"),
            "Most connections that requests of one workspace hold at once, likewise all admin pages.",
            "connections"),
        Variable("WEB_WAIT_SECONDS", float, 5.0,
            "How long a request waits for a connection before it is answered 503.", "seconds"),
        Variable("WEB_WAITING", int, Computed("half of `WEB_REQUESTS`"),
            "Requests that may wait for a connection; one more is answered 503.", "requests"),
        Variable("WEB_REQUEST_SECONDS", float, 30.0,
            "Most time from a request's first statement to its last; 0: no limit.", "seconds"),
        Variable("WEB_REQUESTS", int, Computed("seven eighths of the threads"),
            "Requests answered at once; one more is answered 503 by the remaining threads.", "requests"),
        Variable("WEB_WORKSPACE_REQUESTS", int, Computed("two fifths of `WEB_REQUESTS`"),
            "Most requests of one workspace that record events, and as many others; one more is answered"
            " 503.", "requests"),
        Variable("GRANIAN_BLOCKING_THREADS", int, Computed("64 × `WEB_THREADS`"),
            "Threads of the server; use this instead of the option `--blocking-threads`.", "threads"),
        Variable("GRANIAN_WORKERS_KILL_TIMEOUT", int, 10,
            "How long requests in progress have when the server stops.", "seconds"),
        Variable("MAX_BODY_BYTES", int, 5_242_880,
            "Largest request body, compressed or inflated; larger ones are answered 413.", "bytes"),
        Variable("MAX_KEYS", int, 10_000,
            "Keys at all levels of one event, one contact's attributes or one campaign's definition.",
            "keys"),
        Variable("BODY_TIMEOUT_SECONDS", float, 30.0,
            "A request whose body has not arrived by then is answered 408.", "seconds"),
        Variable("SLOW_BODIES", int, Computed("a quarter of the threads"),
            "Bodies that may be awaited for a second or longer at once; those in excess are answered 408.",
            "requests"),
        Variable("SPOOLED_ANSWERS", int, 4,
            "Exports of persons that a web process makes or streams at once; one more is answered 503.",
            "answers"),
        Variable("IDEMPOTENCY_KEY_DAYS", int, 30,
            "How long the answer to an `Idempotency-Key` is kept.", "days"),
        Variable("QUARANTINE_EVENTS", int, 10_000,
            "Refused events that a workspace keeps; the oldest go first.", "events"),
        Variable("QUARANTINE_DAYS", int, 30, "How long refused events are kept.", "days"),
        Variable("BACKFILL_JOB_DAYS", int, 30,
            "How long a finished job of the background, or of a command, is shown in the admin.", "days"),
    ),
    "Uploads": (
        Variable("MAX_UPLOAD_BYTES", int, 1_073_741_824,
            "Largest file that is uploaded to be imported, as it is sent and unpacked; larger ones are answered"
            " 413.", "bytes"),
        Variable("UPLOAD_DAYS", int, 7,
            "How long an uploaded file and its refused rows are kept once the import is over.", "days"),
        Variable("UPLOADS_FOLDER", str, Computed("`HEADRACE_HOME/uploads`"),
            "Folder of uploaded files, and of those that are arriving; hosts of one installation share it."),
        Variable("UPLOADS_STORAGE", str, "config.files.storage.DurableStorage",
            "Storage of Django's that keeps uploaded files, the path of its class; by default that folder."),
        Variable("UPLOADS_STORAGE_OPTIONS", str, "",
            "Options of that class, a JSON object; by default the folder as `location`."),
    ),
    "Event ingestion": (
        Variable("GROUP_COMMIT_EVENTS", int, 1000,
            "Most events written in one transaction; 0: each request in its own.", "events"),
        Variable("GROUP_COMMIT_LINGER_MS", float, 10.0,
            "Shortest time between two groups of a busy workspace, unless all whom the last one answered are back"
            " before; a longer one makes groups larger.",
            "milliseconds"),
        Variable("GROUP_COMMIT_WRITERS", int, 4,
            "Groups, of as many workspaces, that a web process writes at once, on connections of their own.",
            "connections"),
        Variable("GROUP_COMMIT_WAITING", int, 500,
            "Ingest requests of a web process that may wait; one more is answered 503.", "requests"),
        Variable("GROUP_COMMIT_WAIT_SECONDS", float, 15.0,
            "How long events wait to be written before they are answered 503.", "seconds"),
    ),
    "Sign-in, tokens and rate limits": (
        Variable("CREDENTIAL_CACHE_SECONDS", float, Computed("5 in web processes, else 0"),
            "How long an API key or OAuth token that was read is cached.", "seconds"),
        Variable("JWT_ACCESS_SECONDS", int, 900, "Lifetime of a JWT access token.", "seconds"),
        Variable("JWT_REFRESH_SECONDS", int, 1_209_600, "Lifetime of a JWT refresh token.", "seconds"),
        Variable("OAUTH_ACCESS_TOKEN_SECONDS", int, 7200, "Lifetime of an OAuth access token.", "seconds"),
        Variable("OAUTH_REFRESH_TOKEN_SECONDS", int, 15_552_000,
            "Lifetime of an OAuth refresh token, counted from the end of the access token that it renews.",
            "seconds"),
        Variable("RATE_LIMIT_STORAGE_URL", str, "memory://",
            "`redis://…` counts requests for all web processes together."),
        Variable("RATE_LIMIT_PROCESSES", int, 1,
            "Without a shared storage: number of web processes, each of which grants its share.",
            "processes"),
        Variable("LOGIN_RATE_LIMIT", str, "30/minute",
            "Sign-in attempts from one address at one account (user name and e-mail address are one"
            " account)."),
        Variable("LOGIN_ADDRESS_RATE_LIMIT", str, "60/minute",
            "Sign-in attempts from one address, OAuth clients with a wrong secret included."),
        Variable("LOGIN_ACCOUNT_RATE_LIMIT", str, "300/hour",
            "Attempts at one account from addresses that did not open it in the last 30 days."),
        Variable("LOGIN_TOTAL_RATE_LIMIT", str, "300/minute",
            "Attempts at all accounts from addresses that did not open that account in the last 30 days."),
    ),
    "Messages": (
        Variable("EMAIL_URL", str, Computed("none: the local inbox"),
            "`smtp+tls://user:password@host:587`, or a provider's API,"
            " `anymail+postmark://?server_token=…`."),
        Variable("EMAIL_WEBHOOK_SECRET", str, "",
            "`name:password` with which the provider sends delivery events; without it they are refused."),
        Variable("BOUNCE_ADDRESS", str, "",
            "Envelope sender, to which undeliverable e-mail returns for `read_bounce`; without it the"
            " sender."),
        Variable("DEFAULT_FROM_EMAIL", str, "Headrace <headrace@localhost>",
            "Sender of e-mail where campaign, template and channel name none."),
        Variable("DEFAULT_REPLY_TO", str, "",
            "Address for replies where none of them names one; without it the sender."),
        Variable("DELIVERY_THREADS", int, 16,
            "Messages of one channel that a worker sends at once.", "messages"),
        Variable("DELIVERIES_PER_HOST", int, 2, "Calls at once to one host that receives webhooks.", "calls"),
        Variable("DELIVERY_PAUSED", bool, False, "Send no message, and go on with everything else."),
        Variable("DELIVERY_CLAIM_SECONDS", int, 300,
            "After this time a message that a worker claimed and did not report on is unknown.", "seconds"),
        Variable("DELIVERY_GRACE_SECONDS", int, 25,
            "How long a worker that stops waits for deliveries in progress.", "seconds"),
        Variable("WEBHOOK_ALLOW_PRIVATE_ADDRESSES", bool, False,
            "Let webhooks reach private, loopback and link-local addresses; for trusted tenants only."),
        Variable("SOFT_BOUNCE_LIMIT", int, 5,
            "Soft bounces after which an address is suppressed.", "bounces"),
        Variable("SOFT_BOUNCE_DAYS", int, 30, "Period in which soft bounces are counted.", "days"),
        Variable("CONFIRMATION_SECONDS", int, 3600,
            "How long a form's confirmation e-mail is open; no second one is sent meanwhile.", "seconds"),
        Variable("REHEARSALS_PER_WORKSPACE", int, 1,
            "Rehearsals of campaigns that run at once in a workspace, however many workers of long work there are.",
            "rehearsals"),
        Variable("PAST_START_SECONDS", int, 300,
            "How far in the past the start of a campaign, schedule or broadcast may be.", "seconds"),
        Variable("TELEGRAM_API_URL", str, "https://api.telegram.org", "Server of Telegram's Bot API."),
    ),
    "Metrics, logs and traces": (
        Variable("METRICS_TOKEN", str, "", "Bearer token that `/metrics` demands."),
        Variable("METRICS_ALLOWED", list, [],
            "Addresses or networks that may read `/metrics`; without it and a token: loopback only, no"
            " proxy."),
        Variable("PROMETHEUS_MULTIPROC_DIR", str, Computed("`HEADRACE_HOME/metrics`"),
            "Folder in which the processes of a machine keep their metrics."),
        Variable("LOG_FORMAT", str, Computed("`line`; `json` in production without a terminal"),
            "`line` or `json`."),
        Variable("ACCESS_LOG", bool, False, "Log a line for each request."),
        Variable("SENTRY_DSN", str, "",
            "Where errors are reported; needs the extra `sentry` of `pyproject.toml`."),
        Variable("OTEL_EXPORTER_OTLP_ENDPOINT", str, "",
            "Where traces go (OTLP over HTTP); needs the extra `opentelemetry` of `pyproject.toml`."),
        Variable("OTEL_SERVICE_NAME", str, "headrace", "Name of this installation in traces."),
    ),
}
# fmt: on
VARIABLES: Mapping[str, Variable] = {
    variable.name: variable for group in GROUPS.values() for variable in group
}
