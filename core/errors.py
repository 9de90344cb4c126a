"""Everything that can go wrong and that a caller is told about.

An error's docstring is what the caller reads, so it says what happened and what to do; `detail` replaces it where more
is known. Nothing here may carry a secret, a message's text or a device ID.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from core.values import dataclass


@dataclass(frozen=True, slots=True)
class FieldProblem:
    field: str
    problem: str


class QuotesNobody(Exception):
    """What it says may be written into a log, for it holds nothing that somebody wrote or that names somebody."""


class LatchkeyError(QuotesNobody):
    """Something went wrong."""

    code = "internal_error"
    status = 500
    title = "Internal error"
    retry_after_s: int | None = None
    # What whoever sent too much, or something else that was refused, may still send; see core/rates.py.
    left: Any = None

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: tuple[FieldProblem, ...] = (),
        retry_after_s: int | None = None,
    ) -> None:
        self.detail = detail or " ".join((type(self).__doc__ or "").split())
        if errors and detail is None:
            self.detail = (
                "; ".join(f"{error.field} {error.problem}" for error in errors) + ". Nothing was stored."
            )
        self.errors = errors
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s
        super().__init__(self.detail)


# ---- what the caller sent


class DeviceIdMissing(LatchkeyError):
    """Every call under /v1 names its device: send the header X-Device-ID with a UUID that the app made once and keeps."""

    code, status, title = "device_id_missing", 400, "No device ID"


class DeviceIdMalformed(LatchkeyError):
    """X-Device-ID must be one UUID in its usual form, such as 3f2b8c1e-5a4d-4c7b-9e1f-2a6d8b0c4e57."""

    code, status, title = "device_id_malformed", 400, "Malformed device ID"


class IdempotencyKeyMalformed(LatchkeyError):
    """Idempotency-Key must be 1 to 255 printable ASCII characters; a fresh UUID for each message serves well."""

    code, status, title = "idempotency_key_malformed", 400, "Malformed idempotency key"


class LastEventIdMalformed(LatchkeyError):
    """Last-Event-ID must be the ID of an event of this turn's stream, as it was sent; without it the stream begins at the beginning."""

    code, status, title = "last_event_id_malformed", 400, "Malformed last event ID"


class LastEventIdWithoutKey(LatchkeyError):
    """Last-Event-ID goes on with a turn, and a message without Idempotency-Key is always a new one. Send the key that it was first
    sent with, or ask GET /v1/turns/{id}/events. Nothing was stored.
    """

    code, status, title = "last_event_id_without_key", 400, "Last event ID without a key"


class SessionVersionMalformed(LatchkeyError):
    """X-Session-Version must be sent back as the last answer carried it, or not at all."""

    code, status, title = "session_version_malformed", 400, "Malformed session version"


class InvalidUtf8(LatchkeyError):
    """The body is not valid UTF-8; nothing was stored."""

    code, status, title = "invalid_utf8", 400, "Invalid UTF-8"


class BadJson(LatchkeyError):
    """The body is not one valid JSON value; nothing was stored."""

    code, status, title = "bad_json", 400, "Bad JSON"


class BodyTooLarge(LatchkeyError):
    """The body is over the size limit; nothing was stored."""

    code, status, title = "body_too_large", 413, "Body too large"


class MessageTooLarge(LatchkeyError):
    """The message is over the size limit; nothing was stored."""

    code, status, title = "message_too_large", 413, "Message too large"


class ImageTooLarge(LatchkeyError):
    """An image of the message is over the limits; nothing was stored."""

    code, status, title = "image_too_large", 413, "Image too large"


class InvalidRequest(LatchkeyError):
    """The request is not of the shape that this call takes; nothing was stored."""

    code, status, title = "invalid_request", 422, "Invalid request"


class ImportRefused(LatchkeyError):
    """This is not a whole export of a conversation that the model could go on with; nothing was stored."""

    code, status, title = "import_refused", 422, "Import refused"


class NoSuchPath(LatchkeyError):
    """There is nothing at this path. /openapi.json lists the calls."""

    code, status, title = "not_found", 404, "Not found"


class HeadersTooLarge(LatchkeyError):
    """The headers of the request are over the size limit; nothing was stored."""

    code, status, title = "headers_too_large", 431, "Headers too large"


class AddressTooLong(LatchkeyError):
    """The path or the query of the request is over the size limit; nothing was stored."""

    code, status, title = "address_too_long", 414, "Address too long"


class OriginRefused(LatchkeyError):
    """Web pages of this origin may not make this call: whoever runs this service sets CORS_ORIGINS."""

    code, status, title = "origin_refused", 400, "Origin refused"


class MethodNotAllowed(LatchkeyError):
    """This path does not take this method; the Allow header names those that it takes."""

    code, status, title = "method_not_allowed", 405, "Method not allowed"


class TurnNotFound(LatchkeyError):
    """This device has no turn with this ID in a conversation that is still there."""

    code, status, title = "turn_not_found", 404, "Turn not found"


class SessionNotFound(LatchkeyError):
    """This device is in no conversation: it has begun none, or the last one has ended. POST /v1/turns begins one."""

    code, status, title = "session_not_found", 404, "Session not found"


class UnknownAgent(LatchkeyError):
    """There is no agent of this key."""

    code, status, title = "unknown_agent", 422, "Unknown agent"


# ---- who asks


class TokenMissing(LatchkeyError):
    """This call needs `Authorization: Bearer` with a token. POST /v1/devices gives a device its own."""

    code, status, title = "token_missing", 401, "No token"


class TokenInvalid(LatchkeyError):
    """The token is not one of ours, is another device's, or was changed. POST /v1/devices gives a device its own."""

    code, status, title = "token_invalid", 401, "Invalid token"


class TokenExpired(LatchkeyError):
    """The token's time is over. POST /v1/devices, with the device's secret, gives a new one."""

    code, status, title = "token_expired", 401, "Token expired"


class DeviceBarred(LatchkeyError):
    """This device was signed out, belongs to somebody else, or is not known. POST /v1/devices registers a new one."""

    code, status, title = "device_barred", 401, "Device barred"


class DeviceTaken(LatchkeyError):
    """A device of this ID is registered with another secret. Make a new random UUID, and register that."""

    code, status, title = "device_taken", 409, "Device taken"


class DeviceNotFound(LatchkeyError):
    """You have no device of this ID."""

    code, status, title = "device_not_found", 404, "Device not found"


class OwnerStays(LatchkeyError):
    """The owner of a conversation is not one of its members: they cannot be let in, changed or put out. Nothing was stored."""

    code, status, title = "owner_stays", 409, "The owner stays"


class TooManyMembers(LatchkeyError):
    """This conversation has as many members as one may have. Nothing was stored: put somebody out first."""

    code, status, title = "too_many_members", 409, "Too many members"


class TooManyLinks(LatchkeyError):
    """This conversation has as many links as one may have. Nothing was stored: revoke one first."""

    code, status, title = "too_many_links", 409, "Too many links"


class CursorMalformed(LatchkeyError):
    """The cursor must be sent as `next` of the last page gave it, or not at all."""

    code, status, title = "cursor_malformed", 400, "Malformed cursor"


class UserNotFound(LatchkeyError):
    """There is no user of this ID whom you could let in."""

    code, status, title = "user_not_found", 404, "User not found"


class NothingErased(LatchkeyError):
    """There is no user of this device, and no receipt of one that was erased."""

    code, status, title = "nothing_to_erase", 404, "Nothing to erase"


class LinkNotFound(LatchkeyError):
    """This conversation has no link of this ID."""

    code, status, title = "link_not_found", 404, "Link not found"


class RevisionNotFound(LatchkeyError):
    """Nothing of this ID was rewound or merged in this conversation."""

    code, status, title = "revision_not_found", 404, "Revision not found"


class ShareLinkMalformed(LatchkeyError):
    """X-Share-Link must be sent as the link was given: `session.secret`."""

    code, status, title = "share_link_malformed", 400, "Malformed share link"


class NotSetUp(LatchkeyError):
    """Whoever runs this service has not set this up."""

    code, status, title = "not_set_up", 404, "Not set up"


class NotAdmin(LatchkeyError):
    """This call is for operators: it needs the admin token."""

    code, status, title = "not_admin", 401, "Operators only"


class RateExceeded(LatchkeyError):
    """Too many messages in too short a time. Nothing was stored: send this one, with the same key, after Retry-After."""

    code, status, title, retry_after_s = "rate_exceeded", 429, "Too many messages", 1


# ---- what changed meanwhile


class IfMatchMissing(LatchkeyError):
    """Others may edit this too: send `If-Match` with the `ETag` of what you saw, or `*`."""

    code, status, title = "if_match_missing", 428, "If-Match missing"


class IfMatchMalformed(LatchkeyError):
    """If-Match must be an `ETag` as an answer carried it, with its quotes, several with commas between them, or `*`."""

    code, status, title = "if_match_malformed", 400, "Malformed If-Match"


class NotAsSeen(LatchkeyError):
    """It was changed since you saw it. Nothing was stored: read it again, and send `If-Match` with its new `ETag`."""

    code, status, title = "not_as_seen", 412, "Changed meanwhile"


class ExportChanged(LatchkeyError):
    """The conversation was changed since the parts before were read. Begin again without `after`."""

    code, status, title = "export_changed", 412, "Changed meanwhile"


# ---- what stands in the way of a turn


class SessionBusy(LatchkeyError):
    """Another message of this conversation is being answered. Nothing was stored: send this one again in a moment."""

    code, status, title, retry_after_s = "session_busy", 409, "Conversation busy", 1


class ApprovalNotFound(LatchkeyError):
    """There is no approval of this ID, or it is of a conversation that is not yours. GET /v1/approvals lists yours."""

    code, status, title = "approval_not_found", 404, "Approval not found"


class ApprovalDecided(LatchkeyError):
    """It was decided otherwise already. Nothing was stored, and it stays so."""

    code, status, title = "approval_decided", 409, "Approval decided"


class ApprovalChanged(LatchkeyError):
    """The digest is not that of the call that waits. Nothing was stored: read the approval again, show the person its
    arguments, and send the `input_digest` that stands beside them.
    """

    code, status, title = "approval_changed", 409, "Not what was shown"


class ApprovalExpired(LatchkeyError):
    """Nobody decided in time, which was a no. Nothing was stored: if it is still wanted, ask for it in a new message."""

    code, status, title = "approval_expired", 410, "Approval expired"


class RoleTooSmall(LatchkeyError):
    """What you are in this conversation is not enough for this. Nothing was stored."""

    code, status, title = "role_too_small", 403, "Role too small"


class TooLateToUndo(LatchkeyError):
    """Something came after it that stands on it. Nothing was stored."""

    code, status, title = "too_late_to_undo", 409, "Too late to undo"


class UndoOver(LatchkeyError):
    """The time in which it could be taken back is over. Nothing was stored."""

    code, status, title = "undo_over", 410, "Undo is over"


class NothingToRewind(LatchkeyError):
    """The model is told nothing behind this message, so there is nothing to take back. Nothing was stored."""

    code, status, title = "nothing_to_rewind", 409, "Nothing to rewind"


class NotMergeable(LatchkeyError):
    """These two conversations cannot become one. Nothing was stored."""

    code, status, title = "not_mergeable", 409, "Not to be merged"


class SessionEnded(LatchkeyError):
    """The conversation was ended while this message was being answered. POST /v1/turns begins a new one."""

    code, status, title = "session_ended", 410, "Session ended"


class IdempotencyKeyReused(LatchkeyError):
    """This Idempotency-Key came before with another message. A new message needs a new key."""

    code, status, title = "idempotency_key_reused", 422, "Idempotency key reused"


class AnswerTooLarge(LatchkeyError):
    """The answer is larger than can be sent. What was asked for stands; for a list, ask for less at a time with `limit`."""

    code, status, title = "answer_too_large", 500, "Answer too large"


# ---- what we stand on


class DatabaseNotConfigured(LatchkeyError):
    """No database is configured. Set DATABASE_URL to a Postgres address."""

    code, status, title = "database_not_configured", 503, "No database"


class SettingsWrong(LatchkeyError):
    """The service is not set up as it must be. Its log names what is wrong; whoever runs it has to mend that."""

    code, status, title, retry_after_s = "settings_wrong", 503, "Settings wrong", 30


class SecretsUnavailable(LatchkeyError):
    """The service's secrets cannot be read. Send the same request, with the same Idempotency-Key, again in a moment."""

    code, status, title, retry_after_s = "secrets_unavailable", 503, "Secrets unavailable", 5


class DatabaseUnavailable(LatchkeyError):
    """The database cannot be reached. Send the same request, with the same Idempotency-Key, again in a moment."""

    code, status, title, retry_after_s = "database_unavailable", 503, "Database unavailable", 2


class DatabaseNotMigrated(LatchkeyError):
    """The database lacks this release's tables. Run `make migrate` against it, or deploy this release again."""

    code, status, title, retry_after_s = "database_not_migrated", 503, "Database not migrated", 30


class DatabaseConflict(LatchkeyError):
    """Two requests did the same thing at once, again and again. Send this one again in a moment."""

    code, status, title, retry_after_s = "database_conflict", 503, "Conflict", 1


class ArchiveUnavailable(LatchkeyError):
    """The archive cannot be reached. Send the same request again in a moment: it goes on where it stopped."""

    code, status, title, retry_after_s = "archive_unavailable", 503, "Archive unavailable", 5


class QueueUnavailable(LatchkeyError):
    """The queue of wake-ups cannot be reached. Nothing is lost; what waits for a worker waits for longer."""

    code, status, title, retry_after_s = "queue_unavailable", 503, "Queue unavailable", 5


class BackupUnreadable(LatchkeyError):
    """This is not a whole backup of a conversation: it was cut or changed, or another release wrote it. Nothing was stored."""

    code, status, title = "backup_unreadable", 422, "Backup unreadable"


class NotArchived(LatchkeyError):
    """The archive has no such conversation. Nothing was stored."""

    code, status, title = "not_archived", 404, "Not archived"


class NotRestored(LatchkeyError):
    """The conversation's owner is not here: they were erased, or this database never knew them. Nothing was stored."""

    code, status, title = "not_restored", 409, "Not restored"


# ---- what teams keep of a session


class NoSuchSession(LatchkeyError):
    """There is no session of this ID: it was never made, it was deleted, or nobody used it for too long."""

    code, status, title = "no_such_session", 404, "No such session"


class SessionTaken(LatchkeyError):
    """The session of this ID belongs to another user. Nothing was stored."""

    code, status, title = "session_taken", 409, "Session taken"


class TooManySessions(LatchkeyError):
    """This user has as many sessions as a user may have. Nothing was stored: delete one, or wait until one has expired."""

    code, status, title = "too_many_sessions", 409, "Too many sessions"


class SessionTooLarge(LatchkeyError):
    """The session is over the size limit; nothing was stored."""

    code, status, title = "session_too_large", 413, "Session too large"


class SessionUnwritable(LatchkeyError):
    """The session holds something that cannot be kept as JSON and read again; nothing was stored."""

    code, status, title = "session_unwritable", 500, "Session cannot be kept"


class SessionUnreadable(LatchkeyError):
    """What is stored of the session does not fit this release."""

    code, status, title = "session_unreadable", 500, "Session cannot be read"


class SessionContended(LatchkeyError):
    """Others changed the session again and again while this change was tried. Nothing was stored: try again in a moment."""

    code, status, title, retry_after_s = "session_contended", 503, "Session contended", 1


class UpdateUncertain(LatchkeyError):
    """The change may have been stored: its reply was lost, and what stands there does not tell, or cannot be read. Read the
    session in a moment, and decide by what is there; or change it with a key, which may be sent again.
    """

    code, status, title = "update_uncertain", 503, "Outcome unknown"


class StorageUnavailable(LatchkeyError):
    """The storage of sessions cannot be reached, or refuses. Try again in a moment."""

    code, status, title, retry_after_s = "storage_unavailable", 503, "Storage unavailable", 2


# ---- why a turn failed: stored with the turn, as its `error`


class ModelFailed(LatchkeyError):
    """The model could not answer. Send the message again, with a new Idempotency-Key."""

    code, status, title = "model_failed", 502, "Model failed"
    # What the tries were billed for that came to nothing: tokens by kind and `cost_micros`.
    spent: Mapping[str, int] = MappingProxyType({})


class ModelOverloaded(ModelFailed):
    """The model was overloaded until this turn's time was over. Send the message again in a while."""

    code = "model_overloaded"


class ModelUnavailable(ModelFailed):
    """The model could not be reached until this turn's time was over. Send the message again in a while."""

    code = "model_unavailable"


class ModelTimeout(ModelFailed):
    """The model did not finish its answer within this turn's time. Send the message again, or ask for less at once."""

    code = "model_timeout"


class ModelRejectedCredentials(ModelFailed):
    """The model's API refused our credentials. Whoever runs this service must check ANTHROPIC_API_KEY."""

    code = "model_credentials_rejected"


class ModelBilling(ModelFailed):
    """The model's API refused for want of payment. Whoever runs this service must look at the account."""

    code = "model_billing"


class ModelRejectedRequest(ModelFailed):
    """The model's API refused the request as invalid. This is a defect: whoever runs this service finds it in the log."""

    code = "model_rejected_request"


class PromptTooLong(ModelFailed):
    """The conversation is longer than the model can read, and could not be made shorter. Send the message again, or begin
    a new conversation.
    """

    code = "prompt_too_long"


class ImageRejected(ModelFailed):
    """The model could not read an image of this message, so it is told of the message no more. Send it again without it."""

    code = "image_rejected"


class ModelRefused(ModelFailed):
    """The model declined to answer this message."""

    code = "model_refused"


class ModelSaidNothing(ModelFailed):
    """The model ended its answer without saying anything."""

    code = "model_said_nothing"


class ModelStoppedUnexpectedly(ModelFailed):
    """The model stopped in a way that this agent cannot go on from."""

    code = "model_stopped_unexpectedly"


class BudgetExceeded(ModelFailed):
    """A budget is used up."""

    code, status, title = "budget_exceeded", 402, "Over budget"


class TurnBudgetExceeded(BudgetExceeded):
    """Going on with this message could cost more than one message may. What was done is kept: ask for less at once."""

    code = "turn_budget_exceeded"


class SessionBudgetExceeded(BudgetExceeded):
    """What is left of this conversation's budget may not do for one more answer. Begin a new one, or ask whoever runs this
    service for more.
    """

    code = "session_budget_exceeded"


class UserBudgetExceeded(BudgetExceeded):
    """What is left of your budget for today may not do for one more answer. It begins anew at midnight UTC."""

    code = "user_budget_exceeded"


class OrgBudgetExceeded(BudgetExceeded):
    """What is left of your organisation's budget for today may not do for one more answer. It begins anew at midnight UTC."""

    code = "org_budget_exceeded"


class TurnCrashed(ModelFailed):
    """Answering this message ended its function again and again, so it is not tried once more. Say it another way."""

    code = "turn_crashed"


class TurnTooLong(ModelFailed):
    """The model went on and on without coming to an answer. Send the message again, or ask for less at once."""

    code = "turn_too_long"
