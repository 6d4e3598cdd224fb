"""Accounts that another system vouches for."""

from django.conf import settings
from django.db import models


class Identity(models.Model):
    """Who a user is to an OpenID Connect provider. Names and addresses may change there; the two together do not."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="identity")
    issuer = models.CharField(max_length=500)
    subject = models.CharField(max_length=255)

    class Meta:
        verbose_name_plural = "identities"
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="stormconsole_identity_once")]

    def __str__(self) -> str:
        return f"{self.subject} at {self.issuer}"
