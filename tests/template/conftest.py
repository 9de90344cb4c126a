"""Each stage is packed once a run of tests, and read by all of them."""

from collections.abc import Callable
from functools import cache

import pytest

from tests.template.stack import STAGES, Stack, pack

Packs = Callable[[str], Stack]


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packs:
    @cache
    def once(stage: str) -> Stack:
        return pack(tmp_path_factory.mktemp(stage), stage)

    return once


@pytest.fixture(params=STAGES)
def stack(request: pytest.FixtureRequest, packed: Packs) -> Stack:
    return packed(request.param)


# Each switch of serverless.yml's `params` that changes what is made, in another position than as shipped.
SWITCHED: dict[str, dict[str, str]] = {
    "everything on": {
        "vpc": "{subnetIds: [subnet-0a1b2c3d], securityGroupIds: [sg-0a1b2c3d]}",
        "snapStart": "true",
        "archiveColdAfterDays": "30",
        "alarmMail": "night@example.com",
        "apiConcurrency": "50",
        "jwtIssuer": "https://id.example.com/",
        "jwtAudience": "latchkey",
        "settings": '{ACCESS_MODE: jwt, SESSION_TTL: "600"}',
    },
    "no archive": {"archive": "none"},
    "an archive that is there": {"archive": "our-old-archive"},
}


@pytest.fixture(scope="session")
def switched(tmp_path_factory: pytest.TempPathFactory) -> Packs:
    @cache
    def once(name: str) -> Stack:
        return pack(tmp_path_factory.mktemp("switched"), "dev", SWITCHED[name])

    return once
