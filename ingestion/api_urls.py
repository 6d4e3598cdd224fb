"""Addresses of the read API's part of this package, below /api/v1/."""

from ingestion.api import router

urlpatterns = router.urls
