"""Every setting, each from the environment; what is missing and needed fails loudly."""

import sys
from datetime import timedelta
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import environ
from csp import constants as csp
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.module_loading import import_string

from config.db.timeouts import from_environment
from config.home import announced_url, headrace_home
from config.observability.metrics import PROGRAM
from config.runtime.web_threads import THREADS_PER_CONNECTION
from config.secret_keys import key_in, require_secret
from config.values.emails import read_mailbox

env = environ.Env()

HEADRACE_HOME = headrace_home()

DEBUG = env.bool("DEBUG", default=False)
PRODUCTION = env.bool("PRODUCTION", default=False)


def _secret(name: str) -> str:
    """Return a secret of the environment; only where this machine is alone, of its own making."""
    if given := env.str(name, default=""):
        return require_secret(name, given, strong=PRODUCTION)
    if PRODUCTION:
        raise ImproperlyConfigured(f"{name}: set it in the environment, the same on every node")
    return key_in(HEADRACE_HOME, name.lower())


def _former_secrets(name: str) -> list[str]:
    """Return secrets that were rotated, the last one first."""
    return [require_secret(name, one, strong=False) for one in env.list(name, default=[])]


SECRET_KEY = _secret("SECRET_KEY")
SECRET_KEY_FALLBACKS = _former_secrets("SECRET_KEY_FALLBACKS")
# Erased persons are known by hashes under it, and under those before it.
ERASURE_KEY = _secret("ERASURE_KEY")
ERASURE_KEY_FALLBACKS = _former_secrets("ERASURE_KEY_FALLBACKS")
# After which nothing that was under way when somebody was erased can still be.
ERASURE_SETTLE_SECONDS = env.int("ERASURE_SETTLE_SECONDS", default=3600)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[] if PRODUCTION else ["*"])
# Proxies of ours in front, each of which adds the address that it saw to X-Forwarded-For.
PROXY_COUNT = env.int("PROXY_COUNT", default=0)
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "django_filters",
    "oauth2_provider",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "config",
    "workspaces",
    "contacts",
    "events",
    "scoring",
    "segments",
    "campaigns",
]

MIDDLEWARE = [
    "config.http.probes.serve_probes_first",
    "config.http.compression.InflatingMiddleware",
    # Requests of the API come no further: what follows is for pages.
    "config.http.api_middleware.ApiMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "config.http.page_headers.PageHeadersMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "config.http.fallback.ErrorMiddleware",
]

# Paths that are answered before anything else is asked of a request, and however many there are.
PROBES = frozenset(("/livez", "/readyz", "/api/health", "/metrics"))
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
# Every client calls without a trailing slash, and a redirect would lose the body of a POST.
APPEND_SLASH = False

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # Before unfold's: what of its templates is replaced.
        "DIRS": [Path(__file__).parent / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Who may read /metrics: whoever has the token, from these addresses or networks; neither: this machine alone.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
METRICS_ALLOWED = [ip_network(one, strict=False) for one in env.list("METRICS_ALLOWED", default=[])]
# What the apps tell of the database's state there, each a list of `DatabaseGauge`.
METRICS = ["events.metrics.STORED", "campaigns.metrics.STORED"]

IN_WEB = env.bool("HEADRACE_WEB", default=False)
_DATABASE: dict[str, Any] = (
    env.db("DATABASE_URL")
    if env.str("DATABASE_URL", default="")
    else {"ENGINE": "config.runtime.postgres.backend", "NAME": "headrace"}
)
if _DATABASE["ENGINE"] not in {"config.runtime.postgres.backend", "django.db.backends.postgresql"}:
    raise ImproperlyConfigured("DATABASE_URL must be the address of a PostgreSQL: postgres://...")
# What the database may take, by the kind of work: see config.db.timeouts.
TIMEOUTS = from_environment(env.float)
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        **_DATABASE,
        "ENGINE": "config.runtime.postgres.backend"
        if _DATABASE["ENGINE"] == "config.runtime.postgres.backend"
        else "config.db.backend",
        # Workers and beat say that theirs is another: see config.work.
        "WORK": "web" if IN_WEB else "command",
        "ATOMIC_REQUESTS": False,
        "CONN_MAX_AGE": None,  # a connection a thread, as long as the thread lives
        "OPTIONS": {
            # Parameters go apart from the statement, so that the hot ones are planned once a connection.
            "server_side_binding": True,
            "prepare_threshold": 5,
            # In PostgreSQL's log and in pg_stat_activity.
            "application_name": f"headrace {PROGRAM}",
            # A session with a server that takes no writes, a standby say, would refuse them for as long as it lives.
            "target_session_attrs": "read-write",
            # What the address says of the connection, `sslmode` say, stands.
            **_DATABASE.get("OPTIONS", {}),
        },
    }
}

# Concurrent ingest requests of a web process are written together: see events.stream.group_commit.
GROUP_COMMIT_EVENTS = env.int("GROUP_COMMIT_EVENTS", default=1000)  # 0: each by itself
GROUP_COMMIT_LINGER_MS = env.float("GROUP_COMMIT_LINGER_MS", default=10.0)
GROUP_COMMIT_WRITERS = env.int("GROUP_COMMIT_WRITERS", default=4)
GROUP_COMMIT_WAITING = env.int("GROUP_COMMIT_WAITING", default=500)

# A message is a wake-up, the row the truth: so no results, no retries, and nobody waits for a broker.
CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default="pgmq://localhost")
_BROKER_SCHEME = CELERY_BROKER_URL.partition(":")[0]
# Installations that share a broker need names of their own.
CELERY_TASK_DEFAULT_QUEUE = env.str("BROKER_QUEUE", default="headrace")
# After which a killed worker's message is read again.
_VISIBILITY_SECONDS = env.int("BROKER_VISIBILITY_SECONDS", default=60)
_BROKER_TIMEOUT_SECONDS = 0.5 if IN_WEB else 4.0
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {
    "pgmq": {"wait_time_seconds": 0, "visibility_timeout": _VISIBILITY_SECONDS},
    "redis": {
        # Not only the queue: the list of messages under way too would be shared with whoever uses the same Redis.
        "global_keyprefix": f"{CELERY_TASK_DEFAULT_QUEUE}:",
        "visibility_timeout": _VISIBILITY_SECONDS,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,  # the default returns a dead worker's message after minutes only
        "socket_connect_timeout": _BROKER_TIMEOUT_SECONDS,
        # A worker's blocking read may be silent for longer.
        **({"socket_timeout": _BROKER_TIMEOUT_SECONDS} if IN_WEB else {}),
    },
    "amqp": {name: _BROKER_TIMEOUT_SECONDS for name in ("read_timeout", "write_timeout") if IN_WEB},
}.get({"rediss": "redis", "amqps": "amqp", "pyamqp": "amqp"}.get(_BROKER_SCHEME, _BROKER_SCHEME), {})
# Left alone, the clients believe any certificate (Redis), or one for any host (RabbitMQ).
_BROKER_TLS: dict[str, dict[str, Any]] = {
    "rediss": {"ssl_cert_reqs": "required", "ssl_check_hostname": True},
    "amqps": {"server_hostname": None},  # the address's own
}
CELERY_BROKER_USE_SSL = _BROKER_TLS.get(_BROKER_SCHEME)
CELERY_BROKER_CONNECTION_TIMEOUT = _BROKER_TIMEOUT_SECONDS
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # however long the broker is away, a worker waits for it
CELERY_BROKER_POOL_LIMIT = 4
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_STORE_EAGER_RESULT = False
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
if _BROKER_SCHEME == "pgmq":
    # Over PGMQ a pool's children share a pipe, and one killed while it waits at it keeps the lock that its
    # successors wait for, for ever. This overrules the command line's --pool=prefork.
    CELERY_WORKER_POOL = "solo"
# What a worker takes beyond its task waits for it, while another may be free.
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "config.runtime.beat:Scheduler"
# How often a task tells that beat, the broker and a worker live; see `manage.py check_health`.
HEARTBEAT_SECONDS = env.int("HEARTBEAT_SECONDS", default=30)
# What beat publishes (see config.runtime.beat). `next_due`: makes the SQL of a scalar, the moment at which there is something
# to do. Without `every` the task is published at that moment; with it beat looks that often, in seconds, and no more.
SCHEDULE: dict[str, dict[str, Any]] = {
    "timetable": {"task": "events.tasks.wake_due", "next_due": "events.schedule.timetable"},
    "enrollments": {
        "task": "campaigns.tasks.sweep_enrollments",
        "next_due": "campaigns.schedule.enrollments",
    },
    "broadcasts": {
        "task": "campaigns.tasks.start_due_campaigns",
        "next_due": "campaigns.schedule.broadcasts",
    },
    "messages": {
        "task": "campaigns.messaging.tasks.sweep_messages",
        "next_due": "campaigns.schedule.messages",
    },
    "forgotten batches": {
        "task": "events.tasks.sweep_batches",
        "next_due": "events.schedule.forgotten_batches",
        "every": 5,
    },
    "campaigns": {
        "task": "campaigns.tasks.sweep_campaigns",
        "next_due": "campaigns.schedule.upkeep",
        "every": 15,
    },
    "abandoned messages": {
        "task": "campaigns.messaging.tasks.settle_messages",
        "next_due": "campaigns.schedule.abandoned_messages",
        "every": 15,
    },
    "idle segments": {
        "task": "segments.tasks.sweep_segments",
        "next_due": "segments.schedule.idle_segments",
        "every": 15,
    },
    "silent re-scores": {
        "task": "scoring.tasks.sweep_rescores",
        "next_due": "scoring.schedule.silent_rescores",
        "every": 30,
    },
    "unfinished erasures": {
        "task": "contacts.tasks.continue_erasures",
        "next_due": "contacts.schedule.unfinished_erasures",
        "every": 15,
    },
    "unfinished merges": {
        "task": "contacts.tasks.continue_merges",
        "next_due": "contacts.schedule.unfinished_merges",
        "every": 15,
    },
    "unsettled erasures": {
        "task": "contacts.tasks.resolve_erasures",
        "next_due": "contacts.schedule.unsettled_erasures",
        "every": 60,
    },
    "old idempotency keys": {
        "task": "events.tasks.purge_idempotency_keys",
        "next_due": "events.schedule.old_idempotency_keys",
        "every": 3600,
    },
    # Tells that beat, the broker and a worker live.
    "heartbeat": {"task": "events.tasks.record_worker_heartbeat", "every": HEARTBEAT_SECONDS},
    "expired tokens": {
        "task": "workspaces.tasks.forget_tokens",
        "next_due": "workspaces.schedule.expired_tokens",
        "every": 3600,
    },
    "ended sign-ins": {
        "task": "workspaces.tasks.purge_ended_sign_ins",
        "next_due": "workspaces.schedule.ended_sign_ins",
        "every": 3600,
    },
    "stale rows": {"task": "segments.tasks.sweep_stale_rows", "every": 3600},
    "partitions": {"task": "events.tasks.make_partitions", "every": 24 * 3600},
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "workspaces.User"
AUTHENTICATION_BACKENDS = ["workspaces.authentication.sign_in.AccountBackend"]
SESSION_ENGINE = "workspaces.authentication.sessions"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "/admin/login/"
LOGIN_REDIRECT_URL = "/admin/"

OAUTH2_PROVIDER_APPLICATION_MODEL = "workspaces.Application"
OAUTH2_PROVIDER: dict[str, Any] = {
    "SCOPES_BACKEND_CLASS": "workspaces.authentication.oauth.ApplicationScopes",
    "CLIENT_SECRET_HASHER": "random_secret",
    "ACCESS_TOKEN_EXPIRE_SECONDS": env.int("OAUTH_ACCESS_TOKEN_SECONDS", default=7200),
    "PKCE_REQUIRED": True,
    "REFRESH_TOKEN_REUSE_PROTECTION": True,
    # Since its last use; until then one that was used is known, so that a second use ends its family.
    "REFRESH_TOKEN_EXPIRE_SECONDS": env.int("OAUTH_REFRESH_TOKEN_SECONDS", default=180 * 86400),
    # Plain http is for clients under development on the same machine.
    "ALLOWED_REDIRECT_URI_SCHEMES": ["https"] if PRODUCTION else ["https", "http"],
    "COMPLIANT_BCP_RFC9700_IMPLICIT_GRANT": True,
    "COMPLIANT_BCP_RFC9700_PASSWORD_GRANT": True,
    "COMPLIANT_BCP_RFC9700_PKCE_METHOD": True,
    "COMPLIANT_BCP_RFC9700_ACCESS_TOKEN_TRANSPORT": True,
    "COMPLIANT_BCP_RFC9700_AUTHZ_RESPONSE_ISS": True,
    "COMPLIANT_BCP_RFC9700_TOKEN_STORAGE": True,
    "COMPLIANT_BCP_RFC9700_REFRESH_TOKEN": True,
    "COMPLIANT_BCP_RFC9700_REDIRECT_URI_MATCHING": True,
    "COMPLIANT_BCP_RFC9700_PKCE_REQUIRED": True,
}
PASSWORD_HASHERS = [
    "workspaces.authentication.passwords.OneAtATimeHasher",
    "workspaces.authentication.oauth.RandomSecretHasher",
]
SIMPLE_JWT: dict[str, Any] = {
    "ACCESS_TOKEN_LIFETIME": timedelta(seconds=env.int("JWT_ACCESS_SECONDS", default=900)),
    "REFRESH_TOKEN_LIFETIME": timedelta(seconds=env.int("JWT_REFRESH_SECONDS", default=14 * 86400)),
}
# How long a web process takes an API key or OAuth token for what it was; what it writes is verified all the same.
CREDENTIAL_CACHE_SECONDS = env.float("CREDENTIAL_CACHE_SECONDS", default=5.0 if IN_WEB else 0.0)
# Attempts to sign in of an address at one account, and of an address whatever it tries.
LOGIN_RATE_LIMIT = env.str("LOGIN_RATE_LIMIT", default="30/minute")
LOGIN_ADDRESS_RATE_LIMIT = env.str("LOGIN_ADDRESS_RATE_LIMIT", default="60/minute")
# Of all addresses at one account, and at all: but for those from which the account was opened before.
LOGIN_ACCOUNT_RATE_LIMIT = env.str("LOGIN_ACCOUNT_RATE_LIMIT", default="300/hour")
LOGIN_TOTAL_RATE_LIMIT = env.str("LOGIN_TOTAL_RATE_LIMIT", default="300/minute")

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_PARSER_CLASSES": ["config.http.json.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["config.http.json.LeanJSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "config.http.openapi.Schema",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Headrace",
    "DESCRIPTION": "One stream of customer events, five wire formats.",
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "docExpansion": "none", "filter": True},
    "ENUM_ADD_EXPLICIT_BLANK_NULL_CHOICE": True,
    "ENUM_NAME_OVERRIDES": {
        "CampaignTypeEnum": "campaigns.models.Campaign.Type",
        "CampaignStatusEnum": "campaigns.models.Campaign.Status",
        "ConsentChannelEnum": "contacts.api.serializers._CHANNELS",
        "DecisionKindEnum": "campaigns.api.choices.DECISION_KINDS",
        "MergeStatusEnum": "contacts.api.serializers.MERGE_STATUSES",
        "MessageChannelEnum": "campaigns.api.choices.CHANNELS",
        "MessageStatusEnum": "campaigns.models.Message.Status",
        "ReasonEnum": "campaigns.api.choices.REASONS",
        "EnrollmentStatusEnum": "campaigns.api.choices.RUN_STATUSES",
    },
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "config.http.openapi.add_oauth",
    ],
}

# A fault of ours shows its traceback where the processes write, a broken request one line; Django's own default mails
# them to nobody.
LOG_FORMAT = env.str("LOG_FORMAT", default="json" if PRODUCTION and not sys.stderr.isatty() else "line")
if LOG_FORMAT not in {"line", "json"}:
    raise ImproperlyConfigured("LOG_FORMAT must be line or json")
# Whether each request is a line.
ACCESS_LOG = env.bool("ACCESS_LOG", default=False)
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "config.observability.logs.LineFormatter",
            "format": "{asctime} {levelname} {name}: {message}",
            "style": "{",
        },
        "json": {"()": "config.observability.logs.JSONFormatter"},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "django": {"level": "ERROR"},
        "headrace.access": {"level": "INFO"},
        # Of each attempt in vain to reach whoever gets faults and traces.
        "urllib3": {"level": "ERROR"},
    },
}

# Where faults and traces go; see config.observability.telemetry.
SENTRY_DSN = env.str("SENTRY_DSN", default="")
OTEL_EXPORTER_OTLP_ENDPOINT = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", default="")

MAX_BODY_BYTES = env.int("MAX_BODY_BYTES", default=5 * 1024 * 1024)
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
# Of one event, one contact's attributes, or one campaign's definition, at all levels together.
MAX_KEYS = env.int("MAX_KEYS", default=10_000)
# After which a request whose body is still on its way is refused.
BODY_TIMEOUT_SECONDS = env.float("BODY_TIMEOUT_SECONDS", default=30.0)
# Requests that a web process works on at once, each on a database connection of its own, and the connections besides
# that only requests which record events may have.
WEB_THREADS = env.int("WEB_THREADS", default=4)
WEB_INGEST_CONNECTIONS = env.int("WEB_INGEST_CONNECTIONS", default=1)
# How many of `WEB_THREADS` connections a workspace may hold at once in a process.
WEB_WORKSPACE_CONNECTIONS = env.int("WEB_WORKSPACE_CONNECTIONS", default=max(WEB_THREADS // 2, 1))
# How long a request waits for a connection.
WEB_WAIT_SECONDS = env.float("WEB_WAIT_SECONDS", default=5.0)
# How long after its first question to the database nothing more is asked for a request.
WEB_REQUEST_SECONDS = env.float("WEB_REQUEST_SECONDS", default=30.0)
# The server's threads, most of which wait. Some are left to probes, and to tell the others that it is too much.
SERVER_THREADS = env.int("GRANIAN_BLOCKING_THREADS", default=THREADS_PER_CONNECTION * WEB_THREADS)
WEB_REQUESTS = env.int("WEB_REQUESTS", default=SERVER_THREADS - max(SERVER_THREADS // 8, 2))
# How many of them one workspace may have that record events, and how many others; how many wait for a connection.
WEB_WORKSPACE_REQUESTS = env.int("WEB_WORKSPACE_REQUESTS", default=max(2 * WEB_REQUESTS // 5, 1))
WEB_WAITING = env.int("WEB_WAITING", default=max(WEB_REQUESTS // 2, 1))
# Bodies that may be slow at once.
SLOW_BODIES = env.int("SLOW_BODIES", default=max(SERVER_THREADS // 4, 1))
# How long a request waits for the group that it is written in.
GROUP_COMMIT_WAIT_SECONDS = env.float("GROUP_COMMIT_WAIT_SECONDS", default=15.0)
# Answers, such as a person's export, that a web process streams from files at once: each holds a thread meanwhile.
SPOOLED_ANSWERS = env.int("SPOOLED_ANSWERS", default=4)
IDEMPOTENCY_KEY_DAYS = env.int("IDEMPOTENCY_KEY_DAYS", default=30)
RATE_LIMIT_STORAGE_URL = env.str("RATE_LIMIT_STORAGE_URL", default="memory://")
# Without a shared storage each web process grants its share of a limit.
RATE_LIMIT_PROCESSES = env.int("RATE_LIMIT_PROCESSES", default=1)

# What gives the first answer to a POST with an Idempotency-Key again (see workspaces.api.base).
ANSWER_ONCE = "events.api.idempotency.respond_once"
# What an event turns, in this order, inside one transaction (see events.processing.effects).
EVENT_EFFECTS = [
    "events.effects.maintain_aggregates",
    "scoring.effects.apply_scoring_rules",
    "segments.effects.reevaluate_segments",
    "campaigns.effects.enroll_contacts",
]
# What upper apps add to the language of rules: by the type of the condition, what makes its SQL.
RULE_SOURCES = {
    "segment": "segments.membership_conditions.membership",
}
# By the type of the condition, what tells which of the rows that it names are there.
RULE_TARGETS = {
    "segment": "segments.membership_conditions.known_segments",
}
# What each upper app has of a person: erased in this order, exported too (see contacts.erasure.erasures).
PERSONAL_DATA = [
    "campaigns.personal_data.PERSONAL_DATA",
    "segments.personal_data.PERSONAL_DATA",
    "scoring.personal_data.PERSONAL_DATA",
    "events.personal_data.PERSONAL_DATA",
]
# What each upper app keeps by contact, and moves along when contacts are merged or parted (see
# contacts.merging.reassignment).
REGROUPED_DATA = ["scoring.merges.REGROUPED_DATA"]
# What upper apps add to a contact's page in the admin, in this order.
CONTACT_SECTIONS = [
    "events.admin.contact_events_section",
    "scoring.admin.contact_score_section",
    "segments.admin.contact_segments_section",
    "campaigns.admin.contact_campaigns_section",
    "campaigns.admin.contact_messages_section",
]
# What upper apps add to the filters of contacts in the admin.
ADMIN_CONTACT_FILTERS = ["segments.admin.MemberFilter"]
# What upper apps add to an event's page in the admin, in this order.
EVENT_SECTIONS = ["campaigns.admin.event_trace_section"]
# What upper apps add to a contact's answer in the API, by key; and the scope without which it is left out.
CONTACT_ANSWER_SECTIONS = {
    "events": ("events.api.presentation.recent_events", "events:read"),
    "segments": ("segments.api.presentation.active_segments", "segments:read"),
    "campaigns": ("campaigns.api.presentation.recent_enrollments", "campaigns:read"),
    "messages": ("campaigns.api.presentation.recent_messages", "messages:read"),
}
# What upper apps let the list of contacts be narrowed by: the parameter's name, its filter, and the scope it needs.
CONTACT_FILTERS = {
    "segmentId": ("segments.api.filters.ContactsInSegment", "segments:read"),
    "minScore": ("scoring.api.filters.ContactsWithScore", "scoring:read"),
}
# Where the world reaches this installation: what links in messages begin with.
PUBLIC_URL = env.str("PUBLIC_URL", default="") or announced_url() or "http://localhost:8000"


def _mailbox(name: str, default: str) -> str:
    """Return an e-mail address of the environment, with a name or without, its domain as DNS has it."""
    text: str = env.str(name, default=default)
    try:
        return str(read_mailbox(text)) if text else ""
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}") from error


# How e-mail leaves: smtp://…, or anymail+<provider>://?<setting>=<value>… by a provider's API; none: the local inbox.
_EMAIL_URL = env.str("EMAIL_URL", default="")
EMAIL_TIMEOUT = 15
ANYMAIL: dict[str, Any] = {"IGNORE_UNSUPPORTED_FEATURES": True, "REQUESTS_TIMEOUT": (5, 15)}
EMAIL_BACKEND = "campaigns.messaging.channels.inbox.InboxBackend"
if _EMAIL_URL.startswith("anymail+"):
    _PROVIDER, _, _PROVIDER_SETTINGS = _EMAIL_URL.removeprefix("anymail+").partition("://?")
    EMAIL_BACKEND = f"anymail.backends.{_PROVIDER}.EmailBackend"
    ANYMAIL |= {f"{_PROVIDER}_{name}".upper(): value for name, value in parse_qsl(_PROVIDER_SETTINGS)}
elif _EMAIL_URL:
    vars().update(env.email_url("EMAIL_URL"))
    if EMAIL_BACKEND == "django.core.mail.backends.smtp.EmailBackend":
        EMAIL_BACKEND = "campaigns.messaging.channels.email.SMTPBackend"
# The name and password, name:password, that providers send their news about messages with; none: they may not.
if _EMAIL_WEBHOOK_SECRET := env.str("EMAIL_WEBHOOK_SECRET", default=""):
    ANYMAIL["WEBHOOK_SECRET"] = _EMAIL_WEBHOOK_SECRET
DEFAULT_FROM_EMAIL = _mailbox("DEFAULT_FROM_EMAIL", "Headrace <headrace@localhost>")
# Who gets the answers where neither campaign nor template nor channel says; none: the sender.
DEFAULT_REPLY_TO = _mailbox("DEFAULT_REPLY_TO", "")
# Where e-mail that cannot be delivered is sent back to, for `read_bounce`; none: to who sent it.
BOUNCE_ADDRESS = _mailbox("BOUNCE_ADDRESS", "")
# Messages of one channel that a worker process sends at a time, and of those the calls to one host by all of them.
DELIVERY_THREADS = env.int("DELIVERY_THREADS", default=16)
DELIVERIES_PER_HOST = env.int("DELIVERIES_PER_HOST", default=2)
# No message leaves, and everything else goes on: after the restore of a backup, say.
DELIVERY_PAUSED = env.bool("DELIVERY_PAUSED", default=False)
# After which a message that a worker took and never told of may have left or not.
DELIVERY_CLAIM_SECONDS = env.int("DELIVERY_CLAIM_SECONDS", default=300)
# For which a worker that is told to stop waits for receivers to answer; longer than any of them may take.
DELIVERY_GRACE_SECONDS = env.int("DELIVERY_GRACE_SECONDS", default=25)
# Webhooks may reach private, loopback and link-local addresses: for an installation whose tenants are all trusted.
WEBHOOK_ALLOW_PRIVATE_ADDRESSES = env.bool("WEBHOOK_ALLOW_PRIVATE_ADDRESSES", default=False)
TELEGRAM_API_URL = env.str("TELEGRAM_API_URL", default="https://api.telegram.org")
# After how many messages in so many days that came back softly (a full mailbox) an address is suppressed.
SOFT_BOUNCE_LIMIT = env.int("SOFT_BOUNCE_LIMIT", default=5)
SOFT_BOUNCE_DAYS = env.int("SOFT_BOUNCE_DAYS", default=30)
# For which an e-mail that asks to confirm a form's consent is open: no other one is sent for the form and address.
CONFIRMATION_SECONDS = env.int("CONFIRMATION_SECONDS", default=3600)
# How long ago a start may lie that somebody asks for; further back it is a mistake, and is refused.
PAST_START_SECONDS = env.int("PAST_START_SECONDS", default=300)
EFFECTS_BATCH_SIZE = env.int("EFFECTS_BATCH_SIZE", default=5000)


def _pages(*pages: tuple[str, str, str]) -> list[dict[str, Any]]:
    return [
        {
            "title": title,
            "icon": icon,
            "link": reverse_lazy(f"admin:{model}_changelist"),
            "permission": partial(_may_open, model),
        }
        for title, icon, model in pages
    ]


def _may_open(label: str, request: HttpRequest) -> bool:
    """Whether a list is one that the user may open; what knows it needs the apps, which are not there yet."""
    return bool(import_string("workspaces.staff.base.may_open")(label, request))


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Headrace",
    "SITE_HEADER": "Headrace",
    "SITE_SYMBOL": "water",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("headrace/icon.svg")}
    ],
    "STYLES": [lambda request: static("headrace/admin.css")],
    "SITE_URL": None,
    "DASHBOARD_CALLBACK": "workspaces.staff.base.recent_actions",
    "BORDER_RADIUS": "6px",
    "SIDEBAR": {
        "navigation": [
            {
                "title": "Contacts",
                "items": _pages(
                    ("Contacts", "person", "contacts_contact"),
                    ("Companies", "apartment", "contacts_company"),
                    ("Merges", "merge", "contacts_merge"),
                    ("Erasures", "delete_forever", "contacts_erasure"),
                    ("Erased identifiers", "person_off", "contacts_erasedidentifier"),
                    ("Tags", "sell", "contacts_tag"),
                    ("Fields", "data_object", "contacts_field"),
                ),
            },
            {
                "title": "Events",
                "items": _pages(
                    ("Events", "stream", "events_event"),
                    ("Definitions", "schema", "events_eventdefinition"),
                    ("Parked effects", "report", "events_parkedeffect"),
                    ("Timetable", "schedule", "events_timer"),
                    ("Open batches", "pending_actions", "events_eventbatch"),
                ),
            },
            {
                "title": "Scoring",
                "items": _pages(
                    ("Rules", "rule", "scoring_scoringrule"),
                    ("Ledger", "receipt_long", "scoring_scoreentry"),
                    ("Values", "functions", "scoring_rulescore"),
                ),
            },
            {
                "title": "Segments",
                "items": _pages(
                    ("Segments", "group_work", "segments_segment"),
                    ("Memberships", "person_check", "segments_membership"),
                    ("Membership periods", "history", "segments_membershipperiod"),
                ),
            },
            {
                "title": "Campaigns",
                "items": _pages(
                    ("Campaigns", "campaign", "campaigns_campaign"),
                    ("Enrollments", "route", "campaigns_enrollment"),
                    ("Decisions", "fact_check", "campaigns_decision"),
                    ("Broadcasts", "cell_tower", "campaigns_broadcast"),
                    ("Versions", "history_edu", "campaigns_campaignversion"),
                ),
            },
            {
                "title": "Messages",
                "items": _pages(
                    ("Messages", "mail", "campaigns_message"),
                    ("Templates", "draft", "campaigns_template"),
                    ("Channels", "settings_input_antenna", "campaigns_channelsettings"),
                    ("Suppressions", "block", "campaigns_suppression"),
                    ("Forms", "list_alt", "campaigns_form"),
                    ("Submissions", "assignment_turned_in", "campaigns_formsubmission"),
                    ("Unconfirmed", "pending_actions", "campaigns_pendingconsent"),
                    ("Local inbox", "inbox", "campaigns_sentemail"),
                ),
            },
            {
                "title": "Access",
                "collapsible": True,
                "items": _pages(
                    ("Workspaces", "workspaces", "workspaces_workspace"),
                    ("Users", "group", "workspaces_user"),
                    ("API keys", "key", "workspaces_apikey"),
                    ("OAuth applications", "apps", "workspaces_application"),
                    ("Audit log", "manage_history", "admin_logentry"),
                ),
            },
        ],
    },
}

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
# With no folder to collect them in, static files are served from the packages that bring them.
STATIC_ROOT = env.str("STATIC_ROOT", default=None)
WHITENOISE_USE_FINDERS = True

# What a page may load. No script and no style of ours is inline but with the nonce of its answer.
CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": [csp.NONE],
        "script-src": [csp.SELF, csp.NONCE],
        "style-src": [csp.SELF, csp.NONCE],
        "img-src": [csp.SELF, "data:"],
        "connect-src": [csp.SELF],
        "form-action": [csp.SELF],
        "base-uri": [csp.NONE],
        "frame-ancestors": [csp.NONE],
    }
}
# The admin's scripts are files of ours, too. Alpine, on which unfold is built, reads its attributes by `eval`; unfold
# and the e-mails that are shown in a frame have styles inline.
ADMIN_SECURITY_POLICY: dict[str, Any] = {
    **CONTENT_SECURITY_POLICY["DIRECTIVES"],
    "script-src": [csp.SELF, csp.UNSAFE_EVAL],
    "style-src": [csp.SELF, csp.UNSAFE_INLINE],
    "font-src": [csp.SELF],
    "frame-src": [csp.SELF],
}
PERMISSIONS_POLICY = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"

# Whether other hosts of the domain speak HTTPS, only who runs them knows; and what browsers have preloaded stays.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
if PRODUCTION:
    SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31536000)
    SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=False)
    SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", default=False)
    SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True)
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
