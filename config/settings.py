"""Django settings, read from the environment.

Elsewhere: the variables (config.environment), what apps plug in (config.extension_points), what beat
publishes (config.beat_schedule) and the admin's menu (config.admin_menu).
"""

import json
import re
import sys
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import environ
from csp import constants as csp
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static

from config.admin_menu import NAVIGATION
from config.beat_schedule import SCHEDULE  # noqa: F401  # a setting
from config.db.timeouts import timeouts_from_environment
from config.environment import env
from config.extension_points import *  # noqa: F403  # settings
from config.home import announced_url, headrace_home
from config.observability.metrics import PROGRAM
from config.runtime.web_threads import THREADS_PER_CONNECTION
from config.secret_keys import key_in, require_secret
from config.values.emails import read_mailbox

HEADRACE_HOME = headrace_home()

DEBUG = env("DEBUG")
PRODUCTION = env("PRODUCTION")


def _secret(name: str) -> str:
    """Return a secret of the environment; outside production, by default one that HEADRACE_HOME keeps."""
    if given := env(name):
        return require_secret(name, given, strong=PRODUCTION)
    if PRODUCTION:
        raise ImproperlyConfigured(f"{name}: set it in the environment, the same on every node")
    return key_in(HEADRACE_HOME, name.lower())


def _json_object(name: str) -> dict[str, Any]:
    """Return the JSON object of a variable, empty where it is not set."""
    try:
        found = json.loads(env(name) or "{}")
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}") from error
    if not isinstance(found, dict):
        raise ImproperlyConfigured(f"{name} must be a JSON object")
    return found


def _former_secrets(name: str) -> list[str]:
    """Return rotated secrets, the latest first."""
    return [require_secret(name, secret, strong=False) for secret in env(name)]


SECRET_KEY = _secret("SECRET_KEY")
SECRET_KEY_FALLBACKS = _former_secrets("SECRET_KEY_FALLBACKS")
ERASURE_KEY = _secret("ERASURE_KEY")
ERASURE_KEY_FALLBACKS = _former_secrets("ERASURE_KEY_FALLBACKS")
ERASURE_SETTLE_SECONDS = env("ERASURE_SETTLE_SECONDS")
ALLOWED_HOSTS = env("ALLOWED_HOSTS", [] if PRODUCTION else ["*"])
PROXY_COUNT = env("PROXY_COUNT")
CSRF_TRUSTED_ORIGINS = env("CSRF_TRUSTED_ORIGINS")

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
    "workspaces.api.probes.serve_probes_first",
    "config.http.compression.InflatingMiddleware",
    # Requests of the API come no further: what follows is for pages.
    "workspaces.api.middleware.ApiMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "config.http.page_headers.PageHeadersMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "workspaces.api.fallback.ErrorMiddleware",
]

# Paths that are answered whatever the load, before any middleware but the first.
PROBES = frozenset(("/livez", "/readyz", "/api/health", "/metrics"))
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
# Clients call without a trailing slash, and a redirect would lose the body of a POST.
APPEND_SLASH = False

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # Before Unfold's: templates that replace those of the same name.
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

METRICS_TOKEN = env("METRICS_TOKEN")
METRICS_ALLOWED = [ip_network(network, strict=False) for network in env("METRICS_ALLOWED")]

IN_WEB = env("HEADRACE_WEB")
_DATABASE_URL = env("DATABASE_URL")
_DATABASE: dict[str, Any] = (
    environ.Env.db_url_config(_DATABASE_URL)
    if _DATABASE_URL
    else {"ENGINE": "config.runtime.postgres.backend", "NAME": "headrace"}
)
if _DATABASE["ENGINE"] not in {"config.runtime.postgres.backend", "django.db.backends.postgresql"}:
    raise ImproperlyConfigured("DATABASE_URL must be the address of a PostgreSQL: postgres://...")
TIMEOUTS = timeouts_from_environment()
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        **_DATABASE,
        "ENGINE": "config.runtime.postgres.backend"
        if _DATABASE["ENGINE"] == "config.runtime.postgres.backend"
        else "config.db.backend",
        # The kind of work, for TIMEOUTS; workers and beat choose theirs by config.db.workloads.
        "WORK": "web" if IN_WEB else "command",
        "ATOMIC_REQUESTS": False,
        "CONN_MAX_AGE": None,  # a thread keeps its connection
        "OPTIONS": {
            # Parameters are sent apart, so that frequent statements are planned once a connection.
            "server_side_binding": True,
            "prepare_threshold": 5,
            # Shown in PostgreSQL's log and pg_stat_activity.
            "application_name": f"headrace {PROGRAM}",
            # A session with a standby would refuse writes for as long as it lives.
            "target_session_attrs": "read-write",
            # The query of DATABASE_URL, `sslmode` say, has the last word.
            **_DATABASE.get("OPTIONS", {}),
        },
    }
}

# Concurrent ingest requests of a web process are written together by events.stream.group_commit.
GROUP_COMMIT_EVENTS = env("GROUP_COMMIT_EVENTS")
GROUP_COMMIT_LINGER_MS = env("GROUP_COMMIT_LINGER_MS")
GROUP_COMMIT_WRITERS = env("GROUP_COMMIT_WRITERS")
GROUP_COMMIT_WAITING = env("GROUP_COMMIT_WAITING")

# A task's message only wakes a worker, rows say what is to be done: so no results and no retries.
CELERY_BROKER_URL = env("CELERY_BROKER_URL")
_BROKER_SCHEME = CELERY_BROKER_URL.partition(":")[0]
CELERY_TASK_DEFAULT_QUEUE = env("BROKER_QUEUE")
# What takes minutes waits in a queue of its own, for workers that take nothing else.
LONG_WORK_QUEUE = f"{CELERY_TASK_DEFAULT_QUEUE}-long"
CELERY_TASK_ROUTES = {"campaigns.tasks.run_rehearsals": {"queue": LONG_WORK_QUEUE}}
REHEARSALS_PER_WORKSPACE = env("REHEARSALS_PER_WORKSPACE")
_VISIBILITY_SECONDS = env("BROKER_VISIBILITY_SECONDS")
_BROKER_TIMEOUT_SECONDS = 0.5 if IN_WEB else 4.0
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {
    "pgmq": {"wait_time_seconds": 0, "visibility_timeout": _VISIBILITY_SECONDS},
    "redis": {
        # Without a prefix installations would share the list of unacknowledged messages, too.
        "global_keyprefix": f"{CELERY_TASK_DEFAULT_QUEUE}:",
        "visibility_timeout": _VISIBILITY_SECONDS,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,  # the default restores a dead worker's message only after minutes
        "socket_connect_timeout": _BROKER_TIMEOUT_SECONDS,
        # Only in web processes: a worker's blocking read is silent for longer.
        **({"socket_timeout": _BROKER_TIMEOUT_SECONDS} if IN_WEB else {}),
    },
    "amqp": {name: _BROKER_TIMEOUT_SECONDS for name in ("read_timeout", "write_timeout") if IN_WEB},
}.get({"rediss": "redis", "amqps": "amqp", "pyamqp": "amqp"}.get(_BROKER_SCHEME, _BROKER_SCHEME), {})
# By default the clients accept any certificate (Redis), or one for any host (RabbitMQ).
_BROKER_TLS: dict[str, dict[str, Any]] = {
    "rediss": {"ssl_cert_reqs": "required", "ssl_check_hostname": True},
    "amqps": {"server_hostname": None},  # the host of the address
}
CELERY_BROKER_USE_SSL = _BROKER_TLS.get(_BROKER_SCHEME)
CELERY_BROKER_CONNECTION_TIMEOUT = _BROKER_TIMEOUT_SECONDS
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # a worker waits for the broker without end
CELERY_BROKER_POOL_LIMIT = 4
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_STORE_EAGER_RESULT = False
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
if _BROKER_SCHEME == "pgmq":
    # A prefork pool's children share a pipe: one killed while it reads there leaves its lock taken for ever.
    # This overrules the command line's --pool=prefork.
    CELERY_WORKER_POOL = "solo"
# Prefetched messages would wait for a busy worker while another is idle.
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "config.runtime.beat:Scheduler"
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
    "ACCESS_TOKEN_EXPIRE_SECONDS": env("OAUTH_ACCESS_TOKEN_SECONDS"),
    "PKCE_REQUIRED": True,
    "REFRESH_TOKEN_REUSE_PROTECTION": True,
    # Until then a refresh token that was used is recognised: its reuse revokes all that descend from it.
    "REFRESH_TOKEN_EXPIRE_SECONDS": env("OAUTH_REFRESH_TOKEN_SECONDS"),
    # Plain HTTP is for clients in development on the same machine.
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
    "ACCESS_TOKEN_LIFETIME": timedelta(seconds=env("JWT_ACCESS_SECONDS")),
    "REFRESH_TOKEN_LIFETIME": timedelta(seconds=env("JWT_REFRESH_SECONDS")),
}
CREDENTIAL_CACHE_SECONDS = env("CREDENTIAL_CACHE_SECONDS", 5.0 if IN_WEB else 0.0)
LOGIN_RATE_LIMIT = env("LOGIN_RATE_LIMIT")
LOGIN_ADDRESS_RATE_LIMIT = env("LOGIN_ADDRESS_RATE_LIMIT")
LOGIN_ACCOUNT_RATE_LIMIT = env("LOGIN_ACCOUNT_RATE_LIMIT")
LOGIN_TOTAL_RATE_LIMIT = env("LOGIN_TOTAL_RATE_LIMIT")

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_PARSER_CLASSES": ["config.http.json.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["config.http.json.LeanJSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "workspaces.api.openapi.Schema",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Headrace",
    "DESCRIPTION": "One stream of customer events, six wire formats.",
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
        "DeclaredTypeEnum": "dialects.autosend.serializers.PROPERTY_TYPES",
        "DecisionKindEnum": "campaigns.api.choices.DECISION_KINDS",
        "MergeStatusEnum": "contacts.api.serializers.MERGE_STATUSES",
        "MessageChannelEnum": "campaigns.api.choices.CHANNELS",
        "MessageStatusEnum": "campaigns.models.Message.Status",
        "ReasonEnum": "campaigns.api.choices.REASONS",
        "SuppressionReasonEnum": "campaigns.models.Suppression.Reason",
        "ImportKindEnum": "contacts.models.Import.Kind",
        "ImportStatusEnum": "contacts.models.Import.Status",
        "ImportEffectsEnum": "contacts.models.Import.Effects",
        "ImportOriginEnum": "contacts.models.Import.Origin",
        "EnrollmentStatusEnum": "campaigns.api.choices.RUN_STATUSES",
    },
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "workspaces.api.openapi.add_oauth",
    ],
}

# Unexpected errors log their traceback to standard error, bad requests one line at most.
LOG_FORMAT = env("LOG_FORMAT", "json" if PRODUCTION and not sys.stderr.isatty() else "line")
if LOG_FORMAT not in {"line", "json"}:
    raise ImproperlyConfigured("LOG_FORMAT must be line or json")
ACCESS_LOG = env("ACCESS_LOG")
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
        # Its warnings tell of each failed attempt to send errors and traces.
        "urllib3": {"level": "ERROR"},
    },
}

SENTRY_DSN = env("SENTRY_DSN")
OTEL_EXPORTER_OTLP_ENDPOINT = env("OTEL_EXPORTER_OTLP_ENDPOINT")

MAX_BODY_BYTES = env("MAX_BODY_BYTES")
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
FILE_UPLOAD_HANDLERS = ["config.files.upload_handler.UploadHandler"]
MAX_KEYS = env("MAX_KEYS")
BODY_TIMEOUT_SECONDS = env("BODY_TIMEOUT_SECONDS")
WEB_THREADS = env("WEB_THREADS")
WEB_INGEST_CONNECTIONS = env("WEB_INGEST_CONNECTIONS")
WEB_WORKSPACE_CONNECTIONS = env("WEB_WORKSPACE_CONNECTIONS", max(WEB_THREADS // 2, 1))
WEB_WAIT_SECONDS = env("WEB_WAIT_SECONDS")
WEB_REQUEST_SECONDS = env("WEB_REQUEST_SECONDS")
# Most of the server's threads wait; an eighth is kept for probes and for answering 503.
SERVER_THREADS = env("GRANIAN_BLOCKING_THREADS", THREADS_PER_CONNECTION * WEB_THREADS)
WEB_REQUESTS = env("WEB_REQUESTS", SERVER_THREADS - max(SERVER_THREADS // 8, 2))
WEB_WORKSPACE_REQUESTS = env("WEB_WORKSPACE_REQUESTS", max(2 * WEB_REQUESTS // 5, 1))
WEB_WAITING = env("WEB_WAITING", max(WEB_REQUESTS // 2, 1))
SLOW_BODIES = env("SLOW_BODIES", max(SERVER_THREADS // 4, 1))
GROUP_COMMIT_WAIT_SECONDS = env("GROUP_COMMIT_WAIT_SECONDS")
SPOOLED_ANSWERS = env("SPOOLED_ANSWERS")
IDEMPOTENCY_KEY_DAYS = env("IDEMPOTENCY_KEY_DAYS")
QUARANTINE_EVENTS = env("QUARANTINE_EVENTS")
QUARANTINE_DAYS = env("QUARANTINE_DAYS")
BACKFILL_JOB_DAYS = env("BACKFILL_JOB_DAYS")
RATE_LIMIT_STORAGE_URL = env("RATE_LIMIT_STORAGE_URL")
RATE_LIMIT_PROCESSES = env("RATE_LIMIT_PROCESSES")

PUBLIC_URL = env("PUBLIC_URL") or announced_url() or "http://localhost:8000"


def _mailbox(name: str) -> str:
    """Return an e-mail address of the environment, with or without a name, its domain in ASCII (IDNA)."""
    text: str = env(name)
    try:
        return str(read_mailbox(text)) if text else ""
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}") from error


_EMAIL_URL = env("EMAIL_URL", "")
EMAIL_TIMEOUT = 15
ANYMAIL: dict[str, Any] = {"IGNORE_UNSUPPORTED_FEATURES": True, "REQUESTS_TIMEOUT": (5, 15)}
EMAIL_BACKEND = "campaigns.messaging.channels.inbox.InboxBackend"
if _EMAIL_URL.startswith("anymail+"):
    _PROVIDER, _, _PROVIDER_SETTINGS = _EMAIL_URL.removeprefix("anymail+").partition("://?")
    EMAIL_BACKEND = f"anymail.backends.{_PROVIDER}.EmailBackend"
    ANYMAIL |= {f"{_PROVIDER}_{name}".upper(): value for name, value in parse_qsl(_PROVIDER_SETTINGS)}
elif _EMAIL_URL:
    vars().update(environ.Env.email_url_config(_EMAIL_URL))
    if EMAIL_BACKEND == "django.core.mail.backends.smtp.EmailBackend":
        EMAIL_BACKEND = "campaigns.messaging.channels.email.SMTPBackend"
if _EMAIL_WEBHOOK_SECRET := env("EMAIL_WEBHOOK_SECRET"):
    ANYMAIL["WEBHOOK_SECRET"] = _EMAIL_WEBHOOK_SECRET
DEFAULT_FROM_EMAIL = _mailbox("DEFAULT_FROM_EMAIL")
DEFAULT_REPLY_TO = _mailbox("DEFAULT_REPLY_TO")
BOUNCE_ADDRESS = _mailbox("BOUNCE_ADDRESS")
DELIVERY_THREADS = env("DELIVERY_THREADS")
DELIVERIES_PER_HOST = env("DELIVERIES_PER_HOST")
DELIVERY_PAUSED = env("DELIVERY_PAUSED")
DELIVERY_CLAIM_SECONDS = env("DELIVERY_CLAIM_SECONDS")
DELIVERY_GRACE_SECONDS = env("DELIVERY_GRACE_SECONDS")
WEBHOOK_ALLOW_PRIVATE_ADDRESSES = env("WEBHOOK_ALLOW_PRIVATE_ADDRESSES")
TELEGRAM_API_URL = env("TELEGRAM_API_URL")
SOFT_BOUNCE_LIMIT = env("SOFT_BOUNCE_LIMIT")
SOFT_BOUNCE_DAYS = env("SOFT_BOUNCE_DAYS")
CONFIRMATION_SECONDS = env("CONFIRMATION_SECONDS")
PAST_START_SECONDS = env("PAST_START_SECONDS")
IMPORT_MAPS = Path(__file__).parent.parent / "dialects"
"""Folders of vendors, with what their exports' columns are called in `imports.yaml`."""
MAX_UPLOAD_BYTES = env("MAX_UPLOAD_BYTES")
UPLOAD_DAYS = env("UPLOAD_DAYS")
UPLOADS_FOLDER = Path(env("UPLOADS_FOLDER", str(HEADRACE_HOME / "uploads")))
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "uploads": {
        "BACKEND": env("UPLOADS_STORAGE"),
        "OPTIONS": _json_object("UPLOADS_STORAGE_OPTIONS")
        or {
            "location": str(UPLOADS_FOLDER),
            "file_permissions_mode": 0o600,
            "directory_permissions_mode": 0o700,
        },
    },
}
# Addresses whose bodies are files, and come as they are read (see config.http.bodies).
# One pattern: it is asked of every request with a body.
UPLOAD_PATHS = re.compile(r"/api/workspaces/[^/]+/imports|/admin/contacts/import/add/")
EFFECTS_BATCH_SIZE = env("EFFECTS_BATCH_SIZE")
HEARTBEAT_SECONDS = env("HEARTBEAT_SECONDS")


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Headrace",
    "SITE_HEADER": "Headrace",
    "SITE_SYMBOL": "water",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("headrace/icon.svg")}
    ],
    "STYLES": [lambda request: static("headrace/admin.css")],
    "SITE_URL": None,
    "DASHBOARD_CALLBACK": "workspaces.staff.pages.recent_actions",
    "BORDER_RADIUS": "6px",
    "SIDEBAR": {
        "navigation": NAVIGATION,
    },
}

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = env("STATIC_ROOT")
WHITENOISE_USE_FINDERS = True

# What a page may load; an inline script or style needs the nonce of its response.
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
# Alpine, on which Unfold is built, evaluates attributes by `eval`; Unfold and e-mails shown in a frame have
# inline styles.
ADMIN_SECURITY_POLICY: dict[str, Any] = {
    **CONTENT_SECURITY_POLICY["DIRECTIVES"],
    "script-src": [csp.SELF, csp.UNSAFE_EVAL],
    "style-src": [csp.SELF, csp.UNSAFE_INLINE],
    "font-src": [csp.SELF],
    "frame-src": [csp.SELF],
}
PERMISSIONS_POLICY = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"

# Subdomains and preloading: only the operator knows whether all hosts of the domain speak HTTPS.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
if PRODUCTION:
    SECURE_HSTS_SECONDS = env("SECURE_HSTS_SECONDS")
    SECURE_HSTS_INCLUDE_SUBDOMAINS = env("SECURE_HSTS_INCLUDE_SUBDOMAINS")
    SECURE_HSTS_PRELOAD = env("SECURE_HSTS_PRELOAD")
    SECURE_SSL_REDIRECT = env("SECURE_SSL_REDIRECT")
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
