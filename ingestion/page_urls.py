"""The pages of this package."""

from django.urls import path

from ingestion import dead_letter_pages, pages, reconcile_pages, silence_pages

urlpatterns = [
    path("receivers/heard/", pages.heard, name="receivers-heard"),
    path("silences/", silence_pages.silences, name="silences"),
    path("silences/new/", silence_pages.new, name="new-silence"),
    path("silences/preview/", silence_pages.preview, name="preview-silence"),
    path("silences/create/", silence_pages.create, name="create-silence"),
    path("silences/<int:silence_id>/expire/", silence_pages.expire, name="expire-silence"),
    path("system/", pages.system_page, name="system"),
    path("system/count/", pages.count_now, name="count-ledger"),
    path("system/retry/<uuid:request_id>/", pages.retry_sync, name="retry-sync"),
    path("system/deliveries/<uuid:delivery_id>/", pages.delivery_page, name="delivery"),
    path("system/reconcile/", reconcile_pages.reconcile, name="reconcile"),
    path("system/reconcile/run/", reconcile_pages.run, name="run-reconcile"),
    path("system/dead-letters/", dead_letter_pages.dead_letters, name="dead-letters"),
    path("system/dead-letters/replay/", dead_letter_pages.replay_all, name="replay-dead-letters"),
    path("system/dead-letters/discard/", dead_letter_pages.discard_all, name="discard-dead-letters"),
    path("system/dead-letters/<int:letter_id>/replay/", dead_letter_pages.replay, name="replay-dead-letter"),
    path("system/dead-letters/<int:letter_id>/discard/", dead_letter_pages.discard, name="discard-dead-letter"),
]
