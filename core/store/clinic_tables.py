"""The tables of the shipped example, a clinic's front desk. Whoever takes the example out takes this file with it.

A patient is a user: each row that is a patient's carries the patient first in its key, and goes when the user goes. Free
times are not stored: they are the opening hours without what is booked. Money is in cents.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    Time,
    UniqueConstraint,
    Uuid,
    text,
)

from core.store.tables import metadata

_NOW = text("now()")
_TIME = DateTime(timezone=True)


def _patient() -> Column[object]:
    return Column("patient_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False)


clinic_doctors = Table(
    "clinic_doctors",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", String(100), nullable=False, unique=True),
    Column("speciality", String(100), nullable=False),
    # The same every day, by the clock on the clinic's wall.
    Column("opens", Time, nullable=False),
    Column("closes", Time, nullable=False),
    Column("fee_cents", Integer, nullable=False),
    CheckConstraint("opens < closes", name="opens"),
    CheckConstraint("fee_cents > 0", name="fee_cents"),
)

clinic_appointments = Table(
    "clinic_appointments",
    metadata,
    _patient(),
    # The patient's own count: nobody can name another's appointment.
    Column("number", Integer, nullable=False),
    Column("doctor_id", Integer, ForeignKey("clinic_doctors.id"), nullable=False),
    # By the clock on the clinic's wall, so without a time zone.
    Column("starts_at", DateTime(timezone=False), nullable=False),
    Column("reason", Text, nullable=False),
    # Of the call that booked it: the same call gives the same appointment.
    Column("idempotency_key", String(100), nullable=False),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    Column("cancelled_at", _TIME),
    PrimaryKeyConstraint("patient_id", "number"),
    UniqueConstraint("patient_id", "idempotency_key"),
    # Of two who book the same time, one gets it.
    Index(
        "uq_clinic_appointments_doctor_id_starts_at",
        "doctor_id",
        "starts_at",
        unique=True,
        postgresql_where=text("cancelled_at IS NULL"),
    ),
)

# An appointment's invoice has its number.
clinic_invoices = Table(
    "clinic_invoices",
    metadata,
    Column("patient_id", Uuid, nullable=False),
    Column("number", Integer, nullable=False),
    Column("amount_cents", Integer, nullable=False),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    PrimaryKeyConstraint("patient_id", "number"),
    ForeignKeyConstraint(
        ["patient_id", "number"],
        ["clinic_appointments.patient_id", "clinic_appointments.number"],
        ondelete="CASCADE",
    ),
    CheckConstraint("amount_cents > 0", name="amount_cents"),
)

# An invoice is paid once.
clinic_payments = Table(
    "clinic_payments",
    metadata,
    Column("patient_id", Uuid, nullable=False),
    Column("number", Integer, nullable=False),
    Column("amount_cents", Integer, nullable=False),
    # Of the call that paid it: the same call is told the same.
    Column("idempotency_key", String(100), nullable=False),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    PrimaryKeyConstraint("patient_id", "number"),
    UniqueConstraint("patient_id", "idempotency_key"),
    ForeignKeyConstraint(
        ["patient_id", "number"],
        ["clinic_invoices.patient_id", "clinic_invoices.number"],
        ondelete="CASCADE",
    ),
)

# What leaves the house and cannot be called back. It has no key on purpose: what is written twice is sent twice.
clinic_outbox = Table(
    "clinic_outbox",
    metadata,
    _patient(),
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("recipient", String(20), nullable=False),
    Column("content", Text, nullable=False),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    PrimaryKeyConstraint("patient_id", "id"),
    CheckConstraint("recipient IN ('patient', 'bookkeeping')", name="recipient"),
)
