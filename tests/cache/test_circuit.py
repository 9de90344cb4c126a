import pytest

from core.cache.circuit import Circuit


def opened(at: float = 0.0) -> Circuit:
    circuit = Circuit()
    assert [circuit.failed(at) for _ in range(3)] == [False, False, True]
    return circuit


def test_three_failures_in_a_row_open_it() -> None:
    circuit = opened()
    assert circuit.state(0.5) == "open"
    assert not circuit.lets_through(0.5)


def test_a_success_in_between_counts_them_anew() -> None:
    circuit = Circuit()
    for _ in range(5):
        assert not circuit.failed(0)
        assert not circuit.failed(0)
        circuit.succeeded()
    assert circuit.state(0) == "closed"


def test_after_a_second_one_call_is_let_through_and_no_second_one() -> None:
    circuit = opened()
    assert circuit.state(1.0) == "half-open"
    assert [circuit.lets_through(1.0) for _ in range(3)] == [True, False, False]


def test_a_success_closes_it_and_the_next_opening_is_short_again() -> None:
    circuit = opened()
    circuit.lets_through(1.0)
    circuit.failed(1.0)
    circuit.lets_through(3.0)
    circuit.succeeded()
    assert circuit.state(3.0) == "closed"
    assert [circuit.failed(10.0) for _ in range(3)] == [False, False, True]
    assert circuit.state(10.9) == "open"
    assert circuit.state(11.0) == "half-open"


def test_each_failing_try_doubles_the_pause_up_to_thirty_seconds() -> None:
    circuit, now, pauses = opened(), 0.0, []
    for pause in (1, 2, 4, 8, 16, 30, 30):
        assert not circuit.lets_through(now + pause - 0.001)
        now += pause
        assert circuit.lets_through(now)
        pauses.append(circuit.failed(now))
    assert all(pauses)


def test_a_call_from_before_it_opened_does_not_keep_it_open_longer() -> None:
    circuit = opened()
    assert not circuit.failed(0.9)
    assert circuit.lets_through(1.0)


@pytest.mark.parametrize("calls", [1, 2])
def test_fewer_failures_leave_it_closed(calls: int) -> None:
    circuit = Circuit()
    assert not any(circuit.failed(0) for _ in range(calls))
    assert circuit.lets_through(0)
