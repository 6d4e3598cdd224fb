"""Addresses of the read API's part of this package, below /api/v1/."""

from storms.api import router

urlpatterns = router.urls
