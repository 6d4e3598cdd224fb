"""What becomes of dead letters: replayed by the way that every webhook goes, or discarded with a reason.

A replay reads the letter under its receiver's terms as they are now. If it is an alert by then, it is decided and
recorded with a delivery of its own, in the statement that also takes the letter; so of two replays at once, or of a
replay and a discard, one does it. If it is none yet, the letter waits on with the newest error.
"""

import logging
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import uuid4

from django.db import Error, IntegrityError, connection, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from ingestion import receivers
from ingestion.adapters.batch import Batch, Content, PayloadError
from ingestion.ingest import PARSERS, record_batch, require_same, under_current_terms
from ingestion.ledger import MAX_ERROR, REPLAY, Receipt, Replay, record_refusal
from ingestion.models import DeadLetter, LetterState, Reason, ReceiverKind
from ingestion.receivers import KnownReceiver
from stormconsole.logs import bound
from stormconsole.problems import Problem
from storms.choices import AuditAction
from storms.locks import locked
from storms.services import audit

logger = logging.getLogger(__name__)

MOST_NAMED = 200
MAX_COMMENT = 500
BATCH = 100
LOCK = 0x4C455454  # "LETT"


_OVERFLOWS = """
select r.name, o.not_kept, o.last
from ingestion_receiver r cross join lateral (
    select sum(not_kept) as not_kept, max(received_at) as last from (
        select d.not_kept, d.received_at from ingestion_delivery d
        where d.receiver_id = r.id and d.not_kept > 0 order by d.received_at desc limit 1000) d
) o
where o.last is not null order by o.last desc
"""


class LetterError(Exception):
    """It cannot be done as things stand; the message is for a person."""


class StillInvalid(LetterError):
    """The replay failed as the first reception did: a JSON pointer, and what is wrong there now."""

    def __init__(self, pointer: str, error: str) -> None:
        super().__init__(f"It still cannot be taken in: {error}")
        self.pointer = pointer
        self.error = error


class ReplayingElsewhere(Exception):
    """Another process replays what is queued at the moment."""


@dataclass(frozen=True, slots=True)
class _Failure:
    pointer: str
    error: str
    reason: str


def replay(*, letter_id: int, actor: str) -> DeadLetter:
    """Take the letter's alert in; the letter as it is then.

    Raises: DeadLetter.DoesNotExist, StillInvalid, LetterError (handled already, cut, its receiver is gone or disabled),
    django.db.Error.
    """
    letter = DeadLetter.objects.select_related("delivery").get(id=letter_id)
    _require_replayable(letter)
    receiver = receivers.current(letter.receiver_id) if letter.receiver_id is not None else None
    if receiver is None:
        raise LetterError("Its receiver was deleted or is disabled, so nobody may send this alert: enable it first.")
    try:
        under_current_terms(receiver, partial(_take, letter, actor))
    except Problem as problem:
        raise LetterError(str(problem)) from problem
    except IntegrityError:
        letter.refresh_from_db()
        _require_replayable(letter)
        raise
    letter.refresh_from_db()
    return letter


def _require_replayable(letter: DeadLetter) -> None:
    if letter.state != LetterState.WAITING:
        raise LetterError(handled_words(letter))
    if letter.truncated:
        raise LetterError("It was too long to be kept whole, so it cannot be replayed: discard it.")


def _take(letter: DeadLetter, actor: str, receiver: KnownReceiver) -> None:
    receipt = Receipt(uuid4(), REPLAY, timezone.now(), None)
    content, place = _content_of(letter)
    read = _read(letter, content, place, receiver)
    if isinstance(read, _Failure):
        _record_failure(letter, content, receipt, read, actor)
        raise StillInvalid(read.pointer, read.error)
    record_batch(
        batch=read,
        receipt=receipt,
        receiver_id=receiver.id,
        receiver_name=receiver.name,
        content=content,
        source=letter.delivery.kind,
        replay=Replay(letter.id, read.alerts[0][1].id, actor),
        still_valid=partial(require_same, receiver),
    )


def _content_of(letter: DeadLetter) -> tuple[Content, str]:
    """A body with nothing in it but the letter's item, and the JSON pointer to that."""
    before, after, place = "[", "]", "/0"
    if letter.delivery.kind == ReceiverKind.ALERTMANAGER:
        before, after, place = '{"alerts":[', "]}", "/alerts/0"
    elif "ce-specversion" in letter.headers and letter.media_type == "application/json":
        # A CloudEvent in binary mode: the body is its data.
        before, after, place = "", "", ""
    body = f"{before}{letter.raw}{after}".encode()
    # An alert without a time of its own began when it came in, not now.
    return Content(body, letter.media_type or "application/json", letter.received_at, letter.headers), place


def _read(letter: DeadLetter, content: Content, place: str, receiver: KnownReceiver) -> Batch | _Failure:
    try:
        batch = PARSERS[letter.delivery.kind](content, receiver.terms)
    except PayloadError as error:
        return _Failure(letter.base, str(error), Reason.UNREADABLE.value)
    if batch.rejected:
        item = batch.rejected[0]
        return _Failure(letter.base + item.pointer.removeprefix(place), item.error, item.reason)
    return batch


@transaction.atomic
def _record_failure(letter: DeadLetter, content: Content, receipt: Receipt, failure: _Failure, actor: str) -> None:
    DeadLetter.objects.filter(id=letter.id, state=LetterState.WAITING).update(
        pointer=failure.pointer[:MAX_ERROR],
        error=failure.error[:MAX_ERROR],
        reason=failure.reason,
        attempts=F("attempts") + 1,
        handled_at=receipt.received_at,
        handled_by=actor,
        queued_at=None,
    )
    record_refusal(
        receipt=receipt,
        receiver_id=letter.receiver_id,
        http_status=400,
        body_bytes=len(content.body),
        error=f"Dead letter {letter.id}: {failure.error}",
        rejected=1,
    )
    audit.record(
        action=AuditAction.DEAD_LETTER_REPLAYED,
        actor=actor,
        target=letter,
        after={"state": LetterState.WAITING},
        detail=f"It still cannot be taken in: {failure.error}",
    )


@transaction.atomic
def queue_replays(*, letters: QuerySet[DeadLetter], actor: str) -> int:
    """Have a worker replay those of `letters` that wait; how many. Call `enqueue_replays` after it."""
    fit = waiting(letters).filter(truncated=False, queued_at__isnull=True)
    letters_named = _named(fit)
    queued = fit.update(queued_at=timezone.now(), handled_by=actor)
    if queued:
        audit.record(action=AuditAction.DEAD_LETTER_REPLAYED, actor=actor, after={"queued": queued} | letters_named)
    return queued


def replay_queued(*, limit: int = BATCH) -> int:
    """Replay the longest queued letters; how many were tried. 0: nothing is queued.

    Raises: ReplayingElsewhere, django.db.Error.
    """
    with locked(LOCK) as mine:
        if not mine:
            raise ReplayingElsewhere
        queued = DeadLetter.objects.filter(queued_at__isnull=False).order_by("queued_at", "id")
        letters = list(queued.values_list("id", "handled_by")[:limit])
        for letter_id, actor in letters:
            with bound(letter_id=letter_id):
                _replay_queued(letter_id, actor)
        return len(letters)


def _replay_queued(letter_id: int, actor: str) -> None:
    try:
        replay(letter_id=letter_id, actor=actor)
    except StillInvalid:
        return
    except LetterError as error:
        # It stands as before; the reason is told where a person replays it alone.
        logger.info("dead letter %d not replayed: %s", letter_id, error)
        _unqueue(letter_id)
    except DeadLetter.DoesNotExist:
        return
    except Error:
        raise
    except Exception:
        # One letter must not keep those behind it waiting for ever.
        logger.exception("dead letter %d not replayed", letter_id)
        _unqueue(letter_id)


def _unqueue(letter_id: int) -> None:
    DeadLetter.objects.filter(id=letter_id).update(queued_at=None)


def any_queued() -> bool:
    return DeadLetter.objects.filter(queued_at__isnull=False).exists()


@transaction.atomic
def discard(*, letter_id: int, comment: str, actor: str) -> DeadLetter:
    """Give it up, with a reason.

    Raises: DeadLetter.DoesNotExist, LetterError.
    """
    letters = DeadLetter.objects.filter(id=letter_id)
    comment = _checked(comment)
    discarded = _discard(letters, comment, actor)
    letter = letters.get()
    if not discarded:
        raise LetterError(handled_words(letter))
    audit.record(
        action=AuditAction.DEAD_LETTER_DISCARDED,
        actor=actor,
        target=letter,
        before={"state": LetterState.WAITING},
        after={"state": LetterState.DISCARDED},
        detail=comment,
    )
    return letter


@transaction.atomic
def discard_all(*, letters: QuerySet[DeadLetter], comment: str, actor: str) -> int:
    """Give up those of `letters` that wait, with a reason; how many.

    Raises: LetterError.
    """
    comment = _checked(comment)
    letters_named = _named(waiting(letters))
    discarded = _discard(letters, comment, actor)
    if discarded:
        after = {"discarded": discarded} | letters_named
        audit.record(action=AuditAction.DEAD_LETTER_DISCARDED, actor=actor, after=after, detail=comment)
    return discarded


def _named(letters: QuerySet[DeadLetter]) -> dict[str, list[str]]:
    """Which ones, for the audit; of very many the oldest."""
    ids = letters.order_by("received_at", "id").values_list("id", flat=True)[:MOST_NAMED]
    return {"letters": [str(id_) for id_ in ids]}


def _checked(comment: str) -> str:
    comment = comment.replace("\x00", "").strip()
    if not comment:
        raise LetterError("Say why: the reason stays with the letter.")
    if len(comment) > MAX_COMMENT:
        raise LetterError(f"The reason has {len(comment)} characters, {MAX_COMMENT} at most.")
    return comment


def _discard(letters: QuerySet[DeadLetter], comment: str, actor: str) -> int:
    return waiting(letters).update(
        state=LetterState.DISCARDED,
        comment=comment,
        handled_at=timezone.now(),
        handled_by=actor,
        queued_at=None,
    )


def handled_words(letter: DeadLetter) -> str:
    """`It was replayed already, by ada.`"""
    return f"It was {letter.state} already, by {letter.handled_by or 'the console'}."


def waiting(letters: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
    return letters.filter(state=LetterState.WAITING)


@dataclass(frozen=True, slots=True)
class Overflow:
    """A receiver some of whose set-aside alerts were not kept: at least so many, the last ones then."""

    receiver: str
    not_kept: int
    last: datetime


def overflows() -> list[Overflow]:
    """Receivers that had MAX_DEAD_LETTERS waiting when more came, by their last thousand such deliveries."""
    with connection.cursor() as cursor:
        cursor.execute(_OVERFLOWS)
        return [Overflow(*row) for row in cursor.fetchall()]
