"""A part may end anywhere, and nothing is lost between two: also of what stands together in one message."""

from uuid import UUID

import pytest

from core.house import House
from dev.demo_model import DemoModel
from tests.conversations import answer, arrival, conversations
from tests.databases import run
from tests.prove.agents import SAYS
from tests.transfer.test_round_trip import exported, talking

__all__ = ["talking"]


@pytest.mark.parametrize("most_bytes", [300, 1_000, 2_500])
def test_a_part_may_end_between_two_calls_of_one_message(
    talking: House, database_url: str, model: DemoModel, device: UUID, most_bytes: int
) -> None:
    answer(talking, arrival(device, SAYS["approval"], "1"))
    (session_id,) = conversations(database_url)
    columns = "session_id, turn_id, message_seq, name, effect, status, input_digest, approver, result"
    run(
        database_url,
        f"INSERT INTO tool_calls ({columns}, id) SELECT {columns}, id || n FROM tool_calls, generate_series(1, 4) n "
        "WHERE session_id = %s",
        str(session_id),
    )
    run(
        database_url,
        "INSERT INTO approvals (id, session_id, turn_id, tool_call_id, kind, role, input_digest, status, expires_at) "
        "SELECT gen_random_uuid(), c.session_id, c.turn_id, c.id, 'call', 'owner', '', 'denied', now() FROM tool_calls c "
        "WHERE c.session_id = %s",
        str(session_id),
    )
    whole = exported(talking, device)
    assert whole.count(b'"kind":"tool_call"') == 5
    assert exported(talking, device, most_bytes=most_bytes) == whole
