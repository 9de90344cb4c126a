"""`make remove`: asks by name, takes the stack away, and says what stays."""

from collections.abc import Callable

import pytest

from dev.deploy.osls import Osls
from dev.deploy.removal import Removal
from dev.deploy.stopped import Stopped
from tests.deploy.stand_in import Answer, StandIn


@pytest.fixture
def removal(world: StandIn) -> Removal:
    def removes(world: StandIn) -> Answer:
        world.client("cloudformation").delete_stack(StackName="latchkey-dev")
        return "Service removed", 0

    world.make_stack()
    world.deploys = removes
    return Removal(world.account, Osls([world.osls]))


def saying(answer: str) -> Callable[[str], str]:
    return lambda _question: answer


def test_it_takes_the_stack_and_says_what_stays(
    world: StandIn, removal: Removal, capsys: pytest.CaptureFixture[str]
) -> None:
    removal.remove(saying("dev\n"))
    assert world.calls == ["osls remove --stage dev"]
    assert world.account.stack() is None
    said = capsys.readouterr().out
    assert "latchkey-dev in eu-central-1 of 123456789012: its functions, address" in said
    assert "stays: the database, as it is; and the secret latchkey/dev" in said
    assert "stays: the archive, s3://latchkey-dev-archive-1." in said
    assert "config/dev.yml says archive: latchkey-dev-archive-1" in said


@pytest.mark.parametrize("answer", ["", "y", "yes", "prod", "DEV"])
def test_another_word_than_its_name_removes_nothing(world: StandIn, removal: Removal, answer: str) -> None:
    with pytest.raises(Stopped) as stopped:
        removal.remove(saying(answer))
    assert stopped.value.stands == "nothing has been removed"
    assert world.calls == []


def test_where_nobody_can_be_asked_it_takes_a_yes(world: StandIn, removal: Removal) -> None:
    with pytest.raises(Stopped) as stopped:
        removal.remove(None)
    assert stopped.value.to_do == "make remove STAGE=dev YES=1"
    assert world.calls == []


def test_where_there_is_nothing_it_says_so(world: StandIn) -> None:
    with pytest.raises(Stopped, match="There is no stack latchkey-dev in eu-central-1 of 123456789012"):
        Removal(world.account, Osls([world.osls])).remove(saying("dev"))


def test_one_that_fails_says_how_far_it_came(world: StandIn, removal: Removal) -> None:
    def fails(world: StandIn) -> Answer:
        world.becomes("DELETE_FAILED", ("ServerlessDeploymentBucket", "it is not empty"))
        return "Error: DELETE_FAILED", 1

    world.deploys = fails
    with pytest.raises(Stopped) as stopped:
        removal.remove(saying("dev"))
    assert stopped.value.stands == "the stack is DELETE_FAILED. ServerlessDeploymentBucket: it is not empty"
    assert stopped.value.to_do == "when it is mended: make remove STAGE=dev"
