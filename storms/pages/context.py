"""What every template may use, the admin's too."""

from functools import partial
from typing import Any

from django.http import HttpRequest

import stormconsole
from stormconsole.accounts.services import may_enter_admin
from stormconsole.theme import MEDIA, chosen_theme
from storms.cluster.address import cluster_label, is_local
from storms.pages.navigation import navigation


def console_context(request: HttpRequest) -> dict[str, Any]:
    theme = chosen_theme(request)
    return {
        "cluster": cluster_label(),
        "cluster_is_local": is_local(),
        "console_version": stormconsole.__version__,
        "theme": theme,
        "themes": list(MEDIA),
        "dark_media": MEDIA[theme],
        # Called when a template asks: the admin has a navigation of its own, an error page perhaps no user.
        "enters_admin": partial(_enters_admin, request),
        "navigation": partial(navigation, request),
    }


def _enters_admin(request: HttpRequest) -> bool:
    return may_enter_admin(request.user)
