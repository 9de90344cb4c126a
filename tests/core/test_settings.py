"""Settings: one frozen value, every wrong variable named at once, no secret shown."""

import dataclasses
from pathlib import Path

import pytest

from core.settings import Secret, Settings, SettingsError, read_settings, variables

README = Path(__file__).parent.parent.parent / "README.md"


def test_an_empty_environment_is_fine() -> None:
    settings = read_settings({})
    assert settings == Settings()
    assert (settings.default_session_ttl_s, settings.session_ttl_s) == (86_400, 1_800)


def test_an_empty_variable_counts_as_unset() -> None:
    assert read_settings({"DATABASE_URL": "", "LEASE_TTL_S": "  "}) == Settings()


def test_the_value_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        read_settings({}).lease_ttl_s = 1  # type: ignore[misc]


def test_every_wrong_value_is_reported_at_once() -> None:
    wrong = {
        "DATABASE_URL": "mysql://root:hunter2@db/x",
        "DEFAULT_SESSION_TTL": "a day",
        "SESSION_TTL": "0",
        "LEASE_TTL_S": "-1",
        "ANTHROPIC_BASE_URL": "ftp://x",
        "ANTHROPIC_API_KEY": "hunter2 with spaces",
        "UPSTASH_REDIS_REST_URL": "https://eu1.upstash.io",
        "REDIS_URL": "http://user:hunter2@redis",
    }
    with pytest.raises(SettingsError) as caught:
        read_settings(wrong)
    text = str(caught.value)
    assert len(caught.value.problems) == len(wrong)
    for name in wrong:
        assert name in text
    assert "'a day'; accepted: a whole number from 1 to 31536000" in text
    assert "both or neither" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEFAULT_SESSION_TTL", "1e3"),
        ("DEFAULT_SESSION_TTL", "１２"),
        ("DEFAULT_SESSION_TTL", "9" * 5000),
        ("DATABASE_URL", "postgresql://"),
        ("DATABASE_URL", "postgresql://u@h:port/x"),
        ("DATABASE_URL", "postgresql+psycopg://u@h/x"),
        ("ANTHROPIC_BASE_URL", "https://user:pass@host"),
        ("ANTHROPIC_BASE_URL", "https://"),
        ("ANTHROPIC_MODEL", "claude sonnet"),
        ("REDIS_URL", "redis://"),
    ],
)
def test_a_wrong_value_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read_settings({name: value})


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"WORKER_BUDGET_S": "100", "MODEL_TIMEOUT_S": "90"}, "a worker that outlives one answer"),
        ({"MAX_MESSAGE_BYTES": "5000", "MAX_BODY_BYTES": "2000"}, "a message that fits into a body"),
        ({"UPSTASH_REDIS_REST_TOKEN": "t"}, "both or neither"),
    ],
)
def test_values_that_clash_are_refused(environ: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read_settings(environ)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_every_usual_spelling_of_postgres_gets_the_driver_that_ships(scheme: str) -> None:
    url = read_settings({"DATABASE_URL": f"{scheme}://u:p@h:5432/x?sslmode=require"}).database_url
    assert url is not None
    assert url.reveal() == "postgresql+psycopg2://u:p@h:5432/x?sslmode=require"


def test_half_a_password_is_not_taken_for_a_host() -> None:
    """The driver would name it, in a line of the log, as the host that it does not find."""
    with pytest.raises(SettingsError, match="@ is written as %40") as refused:
        read_settings({"DATABASE_URL": "postgresql://u:hun@ter2@h/x"})
    assert "ter2" not in str(refused.value)
    assert read_settings({"DATABASE_URL": "postgresql://u:hun%40ter2@h/x"}).database_url is not None


def test_a_secret_shows_itself_nowhere() -> None:
    settings = read_settings({"DATABASE_URL": "postgresql://u:hunter2@h/x", "ANTHROPIC_API_KEY": "hunter2"})
    for shown in (repr(settings), str(settings), f"{settings.anthropic_api_key}", repr(Secret("hunter2"))):
        assert "hunter2" not in shown
    assert settings.anthropic_api_key is not None
    assert settings.anthropic_api_key.reveal() == "hunter2"


def test_the_readme_tells_every_setting_and_its_default() -> None:
    text = README.read_text()
    for variable, default in variables():
        row = next((line for line in text.splitlines() if line.startswith(f"| `{variable}` |")), None)
        assert row, f"README does not tell {variable}"
        if default is not None:
            assert str(default) in row.replace(",", ""), f"README tells another default of {variable}: {row}"


def test_a_budget_under_a_wrong_name_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"BUDGET_USER_USD is no budget; accepted: .*BUDGET_USER_DAY_USD"):
        read_settings({"BUDGET_USER_USD": "0.5"})
    assert read_settings({"BUDGET_USER_USD": " "}) == read_settings({})
