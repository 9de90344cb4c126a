"""The shipped example: a clinic's doctors, appointments, invoices, payments and outbox.

Revises: 0003
"""

from datetime import time

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NOW = sa.text("now()")
TIME = sa.DateTime(timezone=True)
DOCTORS = (
    (1, "Amara Okafor", "general practice", time(8), time(16), 40_00),
    (2, "Lena Lindqvist", "skin", time(9), time(13), 120_00),
    (3, "Tomas Novak", "bones and joints", time(12), time(18), 90_00),
)


def upgrade() -> None:
    create_doctors()
    create_appointments()
    create_invoices()
    create_payments()
    create_outbox()


def create_doctors() -> None:
    doctors = op.create_table(
        "clinic_doctors",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("speciality", sa.String(100), nullable=False),
        sa.Column("opens", sa.Time, nullable=False),
        sa.Column("closes", sa.Time, nullable=False),
        sa.Column("fee_cents", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_clinic_doctors"),
        sa.UniqueConstraint("name", name="uq_clinic_doctors_name"),
        sa.CheckConstraint("opens < closes", name=op.f("ck_clinic_doctors_opens")),
        sa.CheckConstraint("fee_cents > 0", name=op.f("ck_clinic_doctors_fee_cents")),
    )
    columns = [column.name for column in doctors.columns]
    op.bulk_insert(doctors, [dict(zip(columns, doctor, strict=True)) for doctor in DOCTORS])


def create_appointments() -> None:
    op.create_table(
        "clinic_appointments",
        sa.Column("patient_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("doctor_id", sa.Integer, nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=False), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("idempotency_key", sa.String(100), nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.Column("cancelled_at", TIME),
        sa.PrimaryKeyConstraint("patient_id", "number", name="pk_clinic_appointments"),
        of_a_patient("clinic_appointments"),
        sa.ForeignKeyConstraint(
            ["doctor_id"], ["clinic_doctors.id"], name="fk_clinic_appointments_doctor_id_clinic_doctors"
        ),
        sa.UniqueConstraint(
            "patient_id", "idempotency_key", name="uq_clinic_appointments_patient_id_idempotency_key"
        ),
    )
    op.create_index(
        "uq_clinic_appointments_doctor_id_starts_at",
        "clinic_appointments",
        ["doctor_id", "starts_at"],
        unique=True,
        postgresql_where=sa.text("cancelled_at IS NULL"),
    )


def create_invoices() -> None:
    op.create_table(
        "clinic_invoices",
        sa.Column("patient_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("amount_cents", sa.Integer, nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("patient_id", "number", name="pk_clinic_invoices"),
        numbered_as("clinic_invoices", "clinic_appointments"),
        sa.CheckConstraint("amount_cents > 0", name=op.f("ck_clinic_invoices_amount_cents")),
    )


def create_payments() -> None:
    op.create_table(
        "clinic_payments",
        sa.Column("patient_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("amount_cents", sa.Integer, nullable=False),
        sa.Column("idempotency_key", sa.String(100), nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("patient_id", "number", name="pk_clinic_payments"),
        numbered_as("clinic_payments", "clinic_invoices"),
        sa.UniqueConstraint(
            "patient_id", "idempotency_key", name="uq_clinic_payments_patient_id_idempotency_key"
        ),
    )


def create_outbox() -> None:
    op.create_table(
        "clinic_outbox",
        sa.Column("patient_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("recipient", sa.String(20), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("patient_id", "id", name="pk_clinic_outbox"),
        of_a_patient("clinic_outbox"),
        sa.CheckConstraint(
            "recipient IN ('patient', 'bookkeeping')", name=op.f("ck_clinic_outbox_recipient")
        ),
    )


def of_a_patient(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["patient_id"], ["users.id"], name=f"fk_{table}_patient_id_users", ondelete="CASCADE"
    )


def numbered_as(table: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["patient_id", "number"],
        [f"{other}.patient_id", f"{other}.number"],
        name=f"fk_{table}_patient_id_number_{other}",
        ondelete="CASCADE",
    )


def downgrade() -> None:
    for table in ("outbox", "payments", "invoices", "appointments", "doctors"):
        op.drop_table(f"clinic_{table}")
