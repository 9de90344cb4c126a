"""The clinic of the shipped example: its doctors, their free times, a patient's appointments, and what leaves the house.

A tool brings the connection and ends its transaction. Every query names the patient, so nobody sees or changes what is
another's. Whoever writes for a patient takes the patient's row first, and stands in line there behind other calls of the
same patient: a number is given out once, and a call that runs twice at once finds what the first run did.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, TextClause, text

from core.ids import UserId
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Doctor:
    id: int
    name: str
    speciality: str
    # Of half an hour.
    fee_cents: int


@dataclass(frozen=True, slots=True)
class Appointment:
    number: int
    doctor: str
    starts_at: datetime
    reason: str
    # booked, over or cancelled
    status: str


_LONGEST_TEXT: Final = 500

# By the clock on the clinic's wall, which is the database's.
_NOW: Final = "COALESCE(CAST(:now AS timestamp), LOCALTIMESTAMP)"

_TODAY: Final = text(f"SELECT CAST({_NOW} AS date)")


def today(connection: Connection, *, now: datetime | None = None) -> date:
    day: date = connection.execute(_TODAY, {"now": now}).scalar_one()
    return day


_DOCTORS: Final = text("SELECT id, name, speciality, fee_cents FROM clinic_doctors ORDER BY id")


def doctors(connection: Connection) -> list[Doctor]:
    return [Doctor(**row) for row in _rows(connection, _DOCTORS, {})]


# The half hours of a day that are still to come and that nobody has booked, of one doctor or of all.
_FREE_TIMES: Final = f"""
SELECT d.id, d.name, d.fee_cents, s.at FROM clinic_doctors d
CROSS JOIN generate_series(
    CAST(:day AS date) + d.opens, CAST(:day AS date) + d.closes - interval '30 minutes', interval '30 minutes'
) AS s (at)
WHERE s.at > {_NOW} AND COALESCE(d.id = :doctor_id, true) AND NOT EXISTS (
    SELECT FROM clinic_appointments a WHERE a.doctor_id = d.id AND a.starts_at = s.at AND a.cancelled_at IS NULL)
"""
_FREE: Final = text(f"SELECT name, at FROM ({_FREE_TIMES}) AS f ORDER BY id, at")


def free(
    connection: Connection, day: date, doctor_id: int | None = None, *, now: datetime | None = None
) -> list[tuple[str, datetime]]:
    """Doctors and times. By the time that somebody books one it may be taken."""
    given = {"day": day, "doctor_id": doctor_id, "now": now}
    return [(row["name"], row["at"]) for row in _rows(connection, _FREE, given)]


# Not FOR UPDATE, which would hold up whoever only refers to the user: a new conversation of theirs.
_STAND_IN_LINE: Final = text("SELECT FROM users WHERE id = :patient_id FOR NO KEY UPDATE")

# Books the time with an invoice, or nothing if it is no free time: of several at once the unique index lets one through.
_BOOK: Final = text(f"""
WITH wanted AS (
    SELECT * FROM ({_FREE_TIMES}) AS f WHERE at = :starts_at ORDER BY id LIMIT 1
),
booked AS (
    INSERT INTO clinic_appointments (patient_id, number, doctor_id, starts_at, reason, idempotency_key)
    SELECT :patient_id, 1 + COALESCE((SELECT max(number) FROM clinic_appointments WHERE patient_id = :patient_id), 0),
           id, at, :reason, :idempotency_key
    FROM wanted
    ON CONFLICT (doctor_id, starts_at) WHERE cancelled_at IS NULL DO NOTHING
    RETURNING number
)
INSERT INTO clinic_invoices (patient_id, number, amount_cents)
SELECT :patient_id, number, fee_cents FROM booked, wanted
RETURNING number
""")

_BOOKED_BY: Final = text("""
SELECT number FROM clinic_appointments WHERE patient_id = :patient_id AND idempotency_key = :idempotency_key
""")


def book(
    connection: Connection,
    patient_id: UserId,
    idempotency_key: str,
    starts_at: datetime,
    reason: str,
    doctor_id: int | None = None,
    *,
    now: datetime | None = None,
) -> Appointment | None:
    """What this key has booked, now or before. None: the time is not free."""
    given = {
        "patient_id": patient_id,
        "idempotency_key": idempotency_key,
        "day": starts_at.date(),
        "starts_at": starts_at,
        "reason": _plain(reason),
        "doctor_id": doctor_id,
        "now": now,
    }
    stand_in_line(connection, patient_id)
    # A statement of its own: one that waited would not see what came while it did.
    number = connection.execute(_BOOKED_BY, given).scalar() or connection.execute(_BOOK, given).scalar()
    return None if number is None else appointment(connection, patient_id, number, now=now)


def stand_in_line(connection: Connection, patient_id: UserId) -> None:
    connection.execute(_STAND_IN_LINE, {"patient_id": patient_id})


_APPOINTMENTS: Final = text(f"""
SELECT a.number, d.name AS doctor, a.starts_at, a.reason,
       CASE WHEN a.cancelled_at IS NOT NULL THEN 'cancelled' WHEN a.starts_at > {_NOW} THEN 'booked' ELSE 'over' END
           AS status
FROM clinic_appointments a JOIN clinic_doctors d ON d.id = a.doctor_id
WHERE a.patient_id = :patient_id AND COALESCE(a.number = :number, true)
ORDER BY a.number DESC LIMIT :limit
""")


def appointments(
    connection: Connection, patient_id: UserId, limit: int = 20, *, now: datetime | None = None
) -> list[Appointment]:
    """The latest first."""
    given = {"patient_id": patient_id, "number": None, "limit": limit, "now": now}
    return [Appointment(**row) for row in _rows(connection, _APPOINTMENTS, given)]


def appointment(
    connection: Connection, patient_id: UserId, number: int, *, now: datetime | None = None
) -> Appointment | None:
    given = {"patient_id": patient_id, "number": number, "limit": 1, "now": now}
    return next((Appointment(**row) for row in _rows(connection, _APPOINTMENTS, given)), None)


# A second time changes nothing. What is over cannot be cancelled.
_CANCEL: Final = text(f"""
UPDATE clinic_appointments SET cancelled_at = COALESCE(cancelled_at, now())
WHERE patient_id = :patient_id AND number = :number AND (cancelled_at IS NOT NULL OR starts_at > {_NOW})
RETURNING number
""")


def cancel(
    connection: Connection, patient_id: UserId, number: int, *, now: datetime | None = None
) -> Appointment | None:
    """The appointment, cancelled now or before. None: there is none of this number to cancel."""
    stand_in_line(connection, patient_id)
    given = {"patient_id": patient_id, "number": number, "now": now}
    if connection.execute(_CANCEL, given).scalar() is None:
        return None
    return appointment(connection, patient_id, number, now=now)


# Sent twice it is there twice.
_SEND: Final = text("""
INSERT INTO clinic_outbox (patient_id, recipient, content) VALUES (:patient_id, :recipient, :content)
""")


def send(connection: Connection, patient_id: UserId, recipient: str, content: str) -> None:
    connection.execute(_SEND, {"patient_id": patient_id, "recipient": recipient, "content": _plain(content)})


def _plain(words: str) -> str:
    """Without what Postgres takes in no text, and a model may send."""
    return words.replace("\0", "").encode(errors="replace").decode()[:_LONGEST_TEXT]


def _rows(connection: Connection, statement: TextClause, given: dict[str, Any]) -> Sequence[RowMapping]:
    return connection.execute(statement, given).mappings().all()
