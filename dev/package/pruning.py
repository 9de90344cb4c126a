"""What a package brings and nothing needs at run time.

Its METADATA, entry points and licences stay: some packages read their own version at import, and a licence goes where the code
goes. Its RECORD goes: the zip's own manifest says what is in it.
"""

import re
from pathlib import PurePosixPath
from typing import Final

# Of 400 services that botocore describes, those that core/aws.py is asked for; and what all of them share.
AWS_SERVICES: Final = ("s3", "secretsmanager", "sqs")

_KEPT_OF_DIST_INFO: Final = re.compile(
    r"METADATA|entry_points\.txt|(licenses/.*)?(LICEN[CS]E|COPYING|NOTICE|AUTHORS)[^/]*", re.IGNORECASE
)
_NEVER: Final = (
    re.compile(r"bin/"),
    re.compile(r"(^|.*/)__pycache__/"),
    # For type checkers and C compilers.
    re.compile(r".*\.(pyi|pyx|pxd|c|h)$|(^|.*/)py\.typed$"),
    # Documents, and what is there to be copied into projects.
    re.compile(r".*\.(rst|md)$|(^|.*/)\.[^/]+/|boto3/examples/|alembic/templates/"),
    # The packages' own tests, and what they test with.
    re.compile(r"(alembic|mako|sqlalchemy)/testing/|certifi/tests/"),
    # boto3.resource, which is not used.
    re.compile(r"boto3/data/"),
    # A page about the calls of an API that Powertools would serve.
    re.compile(r"aws_lambda_powertools/event_handler/openapi/swagger_ui/"),
)
_A_SERVICE: Final = re.compile(r"botocore/data/([^/]+)/")


def is_needed(path: str) -> bool:
    top, _, rest = path.partition("/")
    if top.endswith(".dist-info"):
        return _KEPT_OF_DIST_INFO.fullmatch(rest) is not None
    if (service := _A_SERVICE.match(path)) is not None:
        return service[1] in AWS_SERVICES
    return not any(pattern.match(path) for pattern in _NEVER)


def is_extension(path: str) -> bool:
    """Made for one processor: the only files in which the two zips may differ."""
    name = PurePosixPath(path).name
    return name.endswith(".so") or ".so." in name
