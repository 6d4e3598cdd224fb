"""Receivers, the ledger of deliveries, and the alerts that were set aside."""

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Value
from django.utils import timezone

from ingestion.validators import validate_static_labels, validate_time_zone, validate_web_address
from storms.choices import Outcome
from storms.validators import validate_matchers


class ReceiverKind(models.TextChoices):
    """Which webhook a receiver's token opens."""

    ALERTMANAGER = "alertmanager", "Alertmanager"
    KUBERNETES_EVENT = "kubernetes-event", "Kubernetes events"
    GENERIC = "generic", "Generic JSON"


class Receiver(models.Model):
    """A source of alerts. Its token is stored as a hash and shown once."""

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=20, choices=ReceiverKind, default=ReceiverKind.ALERTMANAGER)
    enabled = models.BooleanField(default=True, help_text="A disabled receiver's token is refused.")
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    static_labels = models.JSONField(
        default=dict,
        blank=True,
        validators=[validate_static_labels],
        help_text='Added to every alert, for example {"cluster": "prod-eu"}; they win over labels of the same name.',
    )
    allowed_namespaces = ArrayField(
        models.CharField(max_length=253),
        default=list,
        blank=True,
        help_text="Alerts of other namespaces are set aside as dead letters. Empty: all namespaces.",
    )
    heartbeat_minutes = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(10_080)],
        help_text="Dead man's switch: after so many minutes without a delivery the console raises an alert of its own.",
    )
    alerts_per_minute = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(10_000_000)],
        help_text="More are answered 503 as whole batches, for the sender to send again. Re-sent alerts count. "
        "Empty: no limit.",
    )
    alertmanager_urls = ArrayField(
        models.CharField(max_length=500, validators=[validate_web_address]),
        default=list,
        blank=True,
        db_default=Value([], ArrayField(models.CharField(max_length=500))),
        size=10,
        help_text="Every Alertmanager that sends with this token, each replica by its own address, separated by "
        "commas, such as https://alertmanager.example:9093. The reconciler asks them what they hold: what none of them "
        "has is over. Empty: it asks nobody.",
    )
    alertmanager_receiver = models.CharField(
        max_length=200,
        blank=True,
        default="",
        db_default="",
        help_text="The name that this console has among the receivers in alertmanager.yml.",
    )
    previous_token_hash = models.CharField(max_length=64, unique=True, null=True, editable=False)
    previous_token_until = models.DateTimeField(null=True, editable=False)
    token_rotated_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.alertmanager_urls and self.kind != ReceiverKind.ALERTMANAGER:
            raise ValidationError({"alertmanager_urls": "Only for a receiver of the kind Alertmanager."})
        if self.alertmanager_receiver and not self.alertmanager_urls:
            raise ValidationError({"alertmanager_urls": "Where is the Alertmanager that has this receiver?"})
        if self.alertmanager_urls and not self.alertmanager_receiver:
            raise ValidationError({"alertmanager_receiver": "What is this console called there?"})


class Silence(models.Model):
    """Alerts that are recorded and not counted: for a time, or every week in a maintenance window."""

    matchers = models.TextField(validators=[validate_matchers], help_text="Alertmanager's syntax; all must match.")
    starts_at = models.DateTimeField(default=timezone.now)
    ends_at = models.DateTimeField(null=True, blank=True, help_text="Empty: until it is ended by hand.")
    weekdays = ArrayField(
        models.PositiveSmallIntegerField(validators=[MaxValueValidator(6)]),
        default=list,
        blank=True,
        help_text="A weekly window: 0 is Monday. Empty: all the time between start and end.",
    )
    window_start = models.TimeField(null=True, blank=True, help_text="Of the weekly window, in its time zone.")
    window_minutes = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(10_080)]
    )
    time_zone = models.CharField(max_length=64, default="UTC", validators=[validate_time_zone])
    author = models.CharField(max_length=150)
    comment = models.CharField(max_length=500)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-starts_at", "-id"]
        indexes = [models.Index(fields=["-starts_at", "-id"], name="silence_starts")]

    def __str__(self) -> str:
        return self.matchers[:80]


class Delivery(models.Model):
    """One webhook request: the ledger. Every alert in it has one outcome, so `received` is their sum."""

    id = models.UUIDField(primary_key=True)
    receiver = models.ForeignKey(Receiver, null=True, on_delete=models.SET_NULL, related_name="deliveries")
    kind = models.CharField(max_length=20, blank=True)
    received_at = models.DateTimeField()
    remote_addr = models.GenericIPAddressField(null=True)
    http_status = models.PositiveSmallIntegerField()
    body_bytes = models.PositiveIntegerField()
    received = models.PositiveIntegerField(default=0, help_text="Alerts in the body.")
    outcomes = models.JSONField(default=dict, help_text="{outcome: number of alerts}")
    not_kept = models.PositiveIntegerField(
        default=0, db_default=0, help_text="Rejected alerts of which no dead letter was kept: there were too many."
    )
    truncated_alerts = models.PositiveIntegerField(default=0, help_text="What Alertmanager left out of the group.")
    old_token = models.BooleanField(
        default=False, db_default=False, help_text="It came with a token that was rotated, and goes on for a while."
    )
    error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-received_at", "-id"]
        verbose_name_plural = "deliveries"
        indexes = [
            models.Index(fields=["-received_at", "-id"]),
            models.Index(fields=["http_status", "-received_at"]),
            models.Index(fields=["receiver", "-received_at"], name="delivery_receiver"),
            models.Index(
                fields=["receiver", "-received_at"], name="delivery_old_token", condition=models.Q(old_token=True)
            ),
            models.Index(
                fields=["receiver", "-received_at"], condition=models.Q(not_kept__gt=0), name="delivery_not_kept"
            ),
            models.Index(
                fields=["receiver", "-received_at"], condition=models.Q(http_status__gte=300), name="delivery_refused"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.received_at:%Y-%m-%d %H:%M:%S} {self.http_status}"

    @property
    def unaccounted(self) -> int:
        """Alerts received without an outcome: 0, or something is wrong."""
        return int(self.received) - sum(self.outcomes.values())


class Reason(models.TextChoices):
    """Why an alert was set aside, by sort; its dead letter's `error` says it in words."""

    NOT_ALLOWED = "not_allowed", "Not allowed to the receiver"
    INVALID = "invalid", "Breaks a rule"
    UNREADABLE = "unreadable", "Not an alert's JSON"


class LetterState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    REPLAYED = "replayed", "Replayed"
    DISCARDED = "discarded", "Discarded"


class DeadLetter(models.Model):
    """One alert of an accepted batch that was set aside, with its error; the others went on.

    `media_type` and `headers` are the request's as far as the format needs them: with `raw` they are what a replay
    reads. A failed replay leaves the newest error here, and the letter waiting.
    """

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="dead_letters")
    receiver = models.ForeignKey(Receiver, null=True, on_delete=models.SET_NULL, related_name="dead_letters")
    received_at = models.DateTimeField()
    index = models.PositiveIntegerField(help_text="Position in the batch, from 0.")
    raw = models.TextField(help_text="The item as it was received (JSON text).")
    truncated = models.BooleanField(
        default=False, db_default=False, help_text="It was longer than MAX_DEAD_LETTER_BYTES: it cannot be replayed."
    )
    media_type = models.CharField(max_length=100, blank=True, db_default="")
    headers = models.JSONField(default=dict, blank=True, db_default=Value({}, models.JSONField()))
    base = models.CharField(max_length=100, blank=True, db_default="", help_text="JSON pointer to the item.")
    pointer = models.CharField(max_length=500, help_text="JSON pointer to what is wrong.")
    reason = models.CharField(max_length=16, choices=Reason, default=Reason.INVALID, db_default=Reason.INVALID)
    error = models.CharField(max_length=500)

    state = models.CharField(
        max_length=10, choices=LetterState, default=LetterState.WAITING, db_default=LetterState.WAITING
    )
    attempts = models.PositiveIntegerField(default=0, db_default=0, help_text="Replays, the failed ones too.")
    queued_at = models.DateTimeField(null=True, blank=True, help_text="A worker is to replay it, since then.")
    handled_at = models.DateTimeField(null=True, blank=True, help_text="Of the last replay, or of the discard.")
    handled_by = models.CharField(max_length=150, blank=True, db_default="")
    comment = models.CharField(max_length=500, blank=True, db_default="", help_text="Why it was discarded.")
    outcome = models.CharField(
        max_length=16, choices=Outcome, blank=True, db_default="", help_text="What the replay was answered."
    )
    replayed_as = models.UUIDField(null=True, blank=True, help_text="The delivery of the replay.")
    alert_id = models.UUIDField(null=True, blank=True, help_text="The alert that it became.")

    class Meta:
        ordering = ["-received_at", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(state="replayed") | models.Q(replayed_as__isnull=False),
                name="replayed_letter_has_delivery",
            )
        ]
        indexes = [
            models.Index(fields=["-received_at", "-id"]),
            models.Index(fields=["state", "-id"], name="letter_state"),
            models.Index(fields=["receiver", "reason"], condition=models.Q(state="waiting"), name="letter_waiting"),
            models.Index(fields=["queued_at"], condition=models.Q(queued_at__isnull=False), name="letter_queued"),
        ]

    def __str__(self) -> str:
        return f"{self.pointer}: {self.error}"


class PrunedTotal(models.Model):
    """How much retention has deleted of what, so that the ledger still adds up; written with every deletion."""

    counter = models.CharField(max_length=32, primary_key=True)
    value = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.counter} {self.value}"


class RunState(models.TextChoices):
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


class ReconcileRun(models.Model):
    """One comparison of rows, store and cluster: what was looked at, what disagreed, and what was done about it."""

    requested_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    actor = models.CharField(max_length=150, blank=True, help_text="A person's name; empty: the console.")
    dry_run = models.BooleanField(default=False)
    state = models.CharField(max_length=8, choices=RunState, default=RunState.QUEUED)
    checked = models.JSONField(default=dict, help_text="{part: how many were looked at}")
    skipped = models.JSONField(default=dict, help_text="{part: why it was not looked at}")
    counts = models.JSONField(default=dict, help_text="{kind of finding: how many}, all of them.")
    findings = models.JSONField(default=list, help_text="[{kind, target, detail, result, advice}], a bounded number.")
    found = models.PositiveIntegerField(default=0)
    repaired = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["id"], condition=models.Q(state__in=["queued", "running"]), name="run_unfinished")
        ]

    def __str__(self) -> str:
        return f"{self.requested_at:%Y-%m-%d %H:%M:%S} {self.state}"


class LedgerCount(models.Model):
    """One row: the whole ledger as it was added up last (`ingestion.counting`)."""

    id = models.PositiveSmallIntegerField(primary_key=True)
    totals = models.JSONField(help_text="As `ingestion.ledger.totals` gives them.")
    counted_at = models.DateTimeField()
    took_ms = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.counted_at:%Y-%m-%d %H:%M:%S}"
