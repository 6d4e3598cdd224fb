"""All addresses of the console."""

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from ingestion.metrics_view import metrics
from stormconsole.accounts import single_sign_on
from stormconsole.accounts import views as accounts
from stormconsole.health import healthz, readyz
from stormconsole.theme import set_theme

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
    path("admin/", admin.site.urls),
    path("api/v1/webhooks/", include("ingestion.urls")),
    path("api/v1/", include("storms.api_urls")),
    path("api/v1/", include("ingestion.api_urls")),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("login/", accounts.Login.as_view(), name="login"),
    path("login/sso/", single_sign_on.Begin.as_view(), name="single-sign-on"),
    path("login/sso/callback/", single_sign_on.Callback.as_view(), name="single-sign-on-callback"),
    path("logout/", accounts.Logout.as_view(), name="logout"),
    path("password/", accounts.ChangePassword.as_view(), name="password"),
    path("theme/", set_theme, name="set-theme"),
    path("", include("ingestion.page_urls")),
    path("", include("storms.urls")),
]
