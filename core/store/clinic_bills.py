"""What a patient of the example's clinic owes: the invoices, one an appointment, and their payments."""

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, text

from core.ids import UserId
from core.store.clinic import stand_in_line
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Invoice:
    number: int
    amount_cents: int
    doctor: str
    starts_at: datetime
    # open, paid, or void: its appointment was cancelled before it was paid
    status: str
    # Of the call that paid it.
    paid_by: str | None


_INVOICES: Final = text("""
SELECT i.number, i.amount_cents, d.name AS doctor, a.starts_at,
       CASE WHEN p.number IS NOT NULL THEN 'paid' WHEN a.cancelled_at IS NOT NULL THEN 'void' ELSE 'open' END AS status,
       p.idempotency_key AS paid_by
FROM clinic_invoices i
JOIN clinic_appointments a ON a.patient_id = i.patient_id AND a.number = i.number
JOIN clinic_doctors d ON d.id = a.doctor_id
LEFT JOIN clinic_payments p ON p.patient_id = i.patient_id AND p.number = i.number
WHERE i.patient_id = :patient_id AND COALESCE(i.number = :number, true)
ORDER BY i.number DESC LIMIT :limit
""")


def invoices(connection: Connection, patient_id: UserId, limit: int = 20) -> list[Invoice]:
    """The latest first."""
    given = {"patient_id": patient_id, "number": None, "limit": limit}
    return [Invoice(**row) for row in connection.execute(_INVOICES, given).mappings()]


def invoice(connection: Connection, patient_id: UserId, number: int) -> Invoice | None:
    given = {"patient_id": patient_id, "number": number, "limit": 1}
    return next((Invoice(**row) for row in connection.execute(_INVOICES, given).mappings()), None)


# Pays an open invoice of just this amount. The payment's key lets none through a second time.
_PAY: Final = text("""
INSERT INTO clinic_payments (patient_id, number, amount_cents, idempotency_key)
SELECT i.patient_id, i.number, i.amount_cents, :idempotency_key
FROM clinic_invoices i JOIN clinic_appointments a ON a.patient_id = i.patient_id AND a.number = i.number
WHERE i.patient_id = :patient_id AND i.number = :number AND i.amount_cents = :amount_cents AND a.cancelled_at IS NULL
ON CONFLICT (patient_id, number) DO NOTHING
""")


def pay(
    connection: Connection, patient_id: UserId, idempotency_key: str, number: int, amount_cents: int
) -> Invoice | None:
    """The invoice as it stands now; it is paid by this key, or else was not to be paid by it. None: there is none."""
    stand_in_line(connection, patient_id)
    given = {
        "patient_id": patient_id,
        "idempotency_key": idempotency_key,
        "number": number,
        "amount_cents": amount_cents,
    }
    connection.execute(_PAY, given)
    return invoice(connection, patient_id, number)
