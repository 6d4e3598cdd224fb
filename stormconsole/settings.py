"""Settings, all from the environment (README.md lists every variable; a test compares the two)."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from stormconsole import env
from stormconsole.theme import admin_theme

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = env.boolean("DEBUG", False)
SECRET_KEY = env.secret("SECRET_KEY")
if not SECRET_KEY:
    raise ImproperlyConfigured("SECRET_KEY: set it (or SECRET_KEY_FILE) to a long random string; `make run` does so")

ALLOWED_HOSTS = env.names("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.names("CSRF_TRUSTED_ORIGINS")
PUBLIC_URL = env.text("PUBLIC_URL", "http://127.0.0.1:8000").rstrip("/")

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "stormconsole.apps.ConsoleAdminConfig",
    # Before Django's accounts: two of their commands are also here (stormconsole/management/commands).
    "stormconsole.apps.StormconsoleConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "channels",
    "axes",
    "csp",
    "storms.apps.StormsConfig",
    "ingestion.apps.IngestionConfig",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "stormconsole.headers.SecurityHeadersMiddleware",
    "stormconsole.caller.CallerMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    # Behind the one before: it asks who is logged in.
    "stormconsole.background.BackgroundMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    # Last: it puts the answer to one login too many in the place of the login page.
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "stormconsole.urls"
WSGI_APPLICATION = "stormconsole.wsgi.application"
ASGI_APPLICATION = "stormconsole.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "storms.pages.context.console_context",
            ]
        },
    }
]

# --- PostgreSQL, the truth. Web threads live as long as the process, so their connections may as well.
DATABASES: dict[str, dict[str, Any]] = {
    "default": env.database("DATABASE_URL", "postgresql://stormconsole@127.0.0.1:5432/stormconsole")
    | {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
}
DATABASES["default"].setdefault("OPTIONS", {}).update(
    connect_timeout=env.integer("DATABASE_CONNECT_TIMEOUT", 3, minimum=1, maximum=60),
    # A server that vanished without a word (a dead host, a cut network) is noticed within half a minute; the kernel's
    # own patience is two hours, in which the thread would serve nobody. No meaning on a Unix socket.
    keepalives_idle=10,
    keepalives_interval=5,
    keepalives_count=3,
    tcp_user_timeout=25_000,
)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Valkey or Redis, the referee: the detector, Celery's broker and the channel layer.
REDIS_URL = env.redis_url("REDIS_URL", "redis://127.0.0.1:6379/0")
# A webhook waits at most this long for the referee before it answers `deferred`.
STORE_TIMEOUT_MS = env.integer("STORE_TIMEOUT_MS", 1000, minimum=50, maximum=30000)
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {
            "SOCKET_CONNECT_TIMEOUT": STORE_TIMEOUT_MS / 1000,
            "SOCKET_TIMEOUT": STORE_TIMEOUT_MS / 1000,
            # One retry, at once: a connection that a restarted store dropped is no outage.
            "CONNECTION_POOL_KWARGS": {"max_connections": 200, "retry": Retry(NoBackoff(), 1)},
        },
    }
}
CHANNEL_LAYERS = {
    "default": {
        # It carries hints that may get lost (storms/live.py), so nothing needs to be kept: to publish is one command,
        # where the layer that keeps messages takes four for each on both ends.
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {
            # One retry at once, where the client's own default waits up to ten seconds between three of them: a pooled
            # connection that a restarted store dropped must not keep a page from hearing again.
            "hosts": [
                {
                    "address": REDIS_URL,
                    "socket_timeout": 15,
                    "socket_connect_timeout": STORE_TIMEOUT_MS / 1000,
                    "retry": AsyncRetry(NoBackoff(), 1),
                },
            ],
            "prefix": "stormconsole",
        },
    }
}
CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # for ever: an outage that lasts is no reason to end
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "global_keyprefix": "stormconsole.",
    "socket_connect_timeout": STORE_TIMEOUT_MS / 1000,
    "socket_timeout": STORE_TIMEOUT_MS / 1000,
    # One attempt for a message: kombu's own default tries for six seconds, in which a sweep releases nothing.
    "max_retries": 0,
    # No message is precious here: the rows say what is to do, and the sweep enqueues again what got lost. Kombu's
    # acknowledgements over Redis would cost three commands a message and, worse, end the worker when the store is
    # restarted while one is outstanding (restore_unacked on a connection that is gone).
    "ack_emulation": False,
}
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_DEFAULT_QUEUE = "stormconsole"
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_PUBLISH_RETRY = False

# --- Kubernetes. Without either of these the console keeps the resources in its local cluster and says so.
KUBECONFIG = env.text("KUBECONFIG")
KUBERNETES_IN_CLUSTER = env.boolean("KUBERNETES_IN_CLUSTER", bool(env.text("KUBERNETES_SERVICE_HOST")))
KUBERNETES_TIMEOUT_SECONDS = env.integer("KUBERNETES_TIMEOUT_SECONDS", 10, minimum=1, maximum=120)
REMEDIATION_NAMESPACE = env.namespace("REMEDIATION_NAMESPACE", "stormconsole")

# Garbage collection: closed and superseded resources are deleted so long after their operator is done with them, or so
# long after they ended whatever their phase. 0: never.
# Sources that never say "resolved" (Kubernetes events): an alert is over when it was not repeated for so long.
EVENT_EXPIRY_MINUTES = env.integer("EVENT_EXPIRY_MINUTES", 60, minimum=0, maximum=10080)
COLLECT_AFTER_HOURS = env.integer("COLLECT_AFTER_HOURS", 24, minimum=0, maximum=87600)
COLLECT_LIMIT_HOURS = env.integer("COLLECT_LIMIT_HOURS", 168, minimum=0, maximum=87600)

# --- Retention, in days after the last news of a row. 0: for ever.
RETAIN_ALERTS_DAYS = env.integer("RETAIN_ALERTS_DAYS", 90, minimum=0, maximum=36500)
RETAIN_STORMS_DAYS = env.integer("RETAIN_STORMS_DAYS", 365, minimum=0, maximum=36500)
RETAIN_DELIVERIES_DAYS = env.integer("RETAIN_DELIVERIES_DAYS", 30, minimum=0, maximum=36500)
RETAIN_DEAD_LETTERS_DAYS = env.integer("RETAIN_DEAD_LETTERS_DAYS", 90, minimum=0, maximum=36500)
RETAIN_AUDIT_DAYS = env.integer("RETAIN_AUDIT_DAYS", 400, minimum=0, maximum=36500)

# Rows, store and cluster are compared so often, in minutes. 0: only when somebody asks.
RECONCILE_MINUTES = env.integer("RECONCILE_MINUTES", 60, minimum=0, maximum=10080)

# --- Ingestion
MAX_BODY_BYTES = env.integer("MAX_BODY_BYTES", 10 * 1024 * 1024, minimum=1024, maximum=1024**3)
# What a dead letter keeps of its item, and how many of a receiver wait at most: what comes beyond is counted only.
MAX_DEAD_LETTER_BYTES = env.integer("MAX_DEAD_LETTER_BYTES", 65_536, minimum=1024, maximum=1024**2)
MAX_DEAD_LETTERS = env.integer("MAX_DEAD_LETTERS", 10_000, minimum=1, maximum=1_000_000)
# Pages and the admin keep Django's own limits; webhooks read their body themselves, against MAX_BODY_BYTES.
WEB_THREADS = env.integer("WEB_THREADS", 16, minimum=1, maximum=256)
# What is over these is answered 503 (stormconsole/bridge.py); the edge's own limit is read in stormconsole/edge.py.
WEB_QUEUE = env.integer("WEB_QUEUE", 500, minimum=0, maximum=100_000)
WEB_BUFFER_BYTES = env.integer("WEB_BUFFER_BYTES", max(64 * 1024**2, 2 * MAX_BODY_BYTES), minimum=1024, maximum=2**40)
# Open pages that a process keeps up to date; the next ones are told to try again later (storms/consumers.py).
WEB_SOCKETS = env.integer("WEB_SOCKETS", 2000, minimum=1, maximum=100_000)

# --- Web
# `/metrics` is open unless this is set.
METRICS_TOKEN = env.secret("METRICS_TOKEN")
HTTPS = env.boolean("HTTPS", False)
if HTTPS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    # Probes come over plain HTTP from inside the cluster.
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
    SECURE_HSTS_SECONDS = 31536000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    # A prefix that browsers hold to: set by this very host, over TLS, for all of it.
    SESSION_COOKIE_NAME = "__Host-sessionid"
    CSRF_COOKIE_NAME = "__Host-csrftoken"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Hosts and networks inside that the console may ask, though a person typed their address (stormconsole/outgoing.py).
ALLOWED_OUTGOING = env.hosts("ALLOWED_OUTGOING")
# What such a host is shown, for each origin alone: who may type in an address must not learn another one's credentials.
OUTGOING_CREDENTIALS = env.credentials("OUTGOING_CREDENTIALS")
LOGIN_URL = "login"
CSRF_FAILURE_VIEW = "stormconsole.background.csrf_failure"
LOGIN_REDIRECT_URL = "now"
LOGOUT_REDIRECT_URL = "login"
APPEND_SLASH = True

# What a page may load and do: its own files, nothing inline, nothing evaluated, no other host, no frame around it.
# The admin needs a little more (admin_site.py). What is no page goes without, which the webhooks' speed likes.
CONTENT_SECURITY_POLICY = {
    "EXCLUDE_URL_PREFIXES": ["/api/v1/"],
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],  # WebSockets of the same host too
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    },
}

# --- Logins. After too many failures of an account from an address the two have to wait (accounts/throttle.py).
LOGIN_FAILURES = env.integer("LOGIN_FAILURES", 5, minimum=1, maximum=1000)
LOGIN_LOCKOUT_MINUTES = env.integer("LOGIN_LOCKOUT_MINUTES", 15, minimum=1, maximum=10080)
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_HANDLER = "stormconsole.accounts.throttle.LoginThrottle"
AXES_CLIENT_IP_CALLABLE = "stormconsole.accounts.throttle.client_address"
AXES_LOCKOUT_CALLABLE = "stormconsole.accounts.views.locked_out"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = LOGIN_FAILURES
AXES_COOLOFF_TIME = timedelta(minutes=LOGIN_LOCKOUT_MINUTES)
AXES_RESET_ON_SUCCESS = True
# Who goes on trying during the wait must not make it last for ever.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_DISABLE_ACCESS_LOG = True  # the audit has every login
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False

# --- Single sign-on by OpenID Connect, where an issuer is named (docs/single-sign-on.md). Half of it is a failed check.
OIDC_ISSUER = env.text("OIDC_ISSUER").rstrip("/")
OIDC_RP_CLIENT_ID = env.text("OIDC_CLIENT_ID")
OIDC_RP_CLIENT_SECRET = env.secret("OIDC_CLIENT_SECRET")
OIDC_RP_SIGN_ALGO = env.choice("OIDC_SIGN_ALGORITHM", "RS256", {"RS256", "RS384", "RS512", "ES256", "ES384"})
OIDC_RP_SCOPES = env.text("OIDC_SCOPES", "openid email profile")
OIDC_NAME = env.text("OIDC_NAME", "single sign-on")
OIDC_USERNAME_CLAIM = env.text("OIDC_USERNAME_CLAIM", "preferred_username")
OIDC_GROUPS_CLAIM = env.text("OIDC_GROUPS_CLAIM", "groups")
OIDC_ROLES = env.pairs("OIDC_ROLES")
OIDC_DEFAULT_ROLE = env.text("OIDC_DEFAULT_ROLE")
OIDC_USE_PKCE = True
OIDC_TIMEOUT = 5
OIDC_AUTHENTICATION_CALLBACK_URL = "single-sign-on-callback"
if OIDC_ISSUER:
    AUTHENTICATION_BACKENDS.append("stormconsole.accounts.single_sign_on.Backend")

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
# Served straight from the source folders: nothing to collect, nothing to forget.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
FORMAT_MODULE_PATH = "stormconsole.formats"
USE_TZ = True

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "storms.api_tokens.ApiTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.DjangoModelPermissions"],
    "DEFAULT_PAGINATION_CLASS": "storms.pagination.TimeCursorPagination",
    "DEFAULT_FILTER_BACKENDS": [
        "django_filters.rest_framework.DjangoFilterBackend",
        "rest_framework.filters.OrderingFilter",
    ],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["stormconsole.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "storms.openapi.ConsoleSchema",
    "EXCEPTION_HANDLER": "stormconsole.problems.problem_handler",
    "PAGE_SIZE": 50,
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "stormconsole",
    "DESCRIPTION": "Alerts in, storms detected, one RemediationRequest per storm.",
    "VERSION": "0.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    # Else the page asks a validator on another host about the schema's address. Deep links are links within buttons,
    # which screen readers cannot tell apart.
    "SWAGGER_UI_SETTINGS": {"deepLinking": False, "validatorUrl": None, "persistAuthorization": False},
    # One chapter for each kind of thing.
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    # Two documents have a `state`, a storm's and a silence's.
    "ENUM_NAME_OVERRIDES": {"StormStateEnum": "storms.filters.STORM_STATES"},
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "storms.openapi.describe_problems",
    ],
}

UNFOLD = {
    "SITE_TITLE": "stormconsole",
    "SITE_HEADER": "stormconsole",
    "SITE_URL": "/",
    "SITE_ICON": lambda request: static("console/favicon.svg"),
    # The console's own greys and blue (static/console/console.css, dark.css), from 50 to 950.
    "COLORS": {
        "base": {
            "50": "#f4f5f7",
            "100": "#eef0f3",
            "200": "#d9dde3",
            "300": "#c3c9d2",
            "400": "#98a4b3",
            "500": "#67717f",
            "600": "#56606d",
            "700": "#3a4450",
            "800": "#2a323d",
            "900": "#171c23",
            "950": "#0f1318",
        },
        "primary": {
            "50": "#eff4fe",
            "100": "#dfe8fb",
            "200": "#c3d4f8",
            "300": "#9dbbf5",
            "400": "#8db4ff",
            "500": "#5c88e0",
            "600": "#2552b8",
            "700": "#20469c",
            "800": "#203c7c",
            "900": "#1d3264",
            "950": "#141f3d",
        },
    },
    "SHOW_HISTORY": True,
    "SCRIPTS": [lambda request: static("console/admin.js")],
    "STYLES": [lambda request: static("console/admin.css"), lambda request: static("console/dashboard.css")],
    "THEME": admin_theme,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("console/favicon.svg")}],
    "DASHBOARD_CALLBACK": "ingestion.dashboard.dashboard",
    "SIDEBAR": {"show_search": True, "navigation": "stormconsole.admin_navigation.navigation"},
}

LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", {"DEBUG", "INFO", "WARNING", "ERROR"})
LOG_FORMAT = env.choice("LOG_FORMAT", "line", {"line", "json"})
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"chosen": {"()": "stormconsole.logs.formatter", "format": LOG_FORMAT}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "chosen"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "stormconsole": {"level": LOG_LEVEL},
        "storms": {"level": LOG_LEVEL},
        "ingestion": {"level": LOG_LEVEL},
        # A 4xx answered to a bad webhook is in the ledger; it is no event of this process.
        "django.request": {"level": "ERROR"},
        # Its own handlers write lines of their own.
        "uvicorn": {"handlers": [], "propagate": True},
        "uvicorn.error": {"handlers": [], "propagate": True},
        # Off (--no-access-log); not named here, it would be switched on as a child of the one above.
        "uvicorn.access": {"handlers": [], "propagate": False},
    },
}
