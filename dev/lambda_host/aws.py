"""AWS's services on this machine: moto's server, and in front of it the record of who asked for what.

Everything finds it by AWS_ENDPOINT_URL, which boto3 reads itself. Moto keeps what it has in this process, by account: each of these is
an account of its own, in which only the names of buckets are everybody's. When the last one stops, all is forgotten.
"""

import io
import itertools
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from dev.http.record import Record

from .calls import Call, call_of
from .function import ACCOUNT, REGION, access_key

_KEPT = 10_000
_accounts = itertools.count(int(ACCOUNT))
_open: set["LocalAws"] = set()
# Whoever sets up what functions find there: it stands in for CloudFormation.
OPERATOR = "operator"


class LocalAws:
    def __init__(self) -> None:
        self.calls: Record[Call] = Record(_KEPT)
        self.account = str(next(_accounts))
        self._server: Any = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host}:{port}"

    def start(self) -> Self:
        from moto.moto_server.werkzeug_app import (
            DomainDispatcherApplication,
            MotoRequestHandler,
            create_backend_app,
        )
        from werkzeug.serving import make_server

        class Quiet(MotoRequestHandler):
            def log_request(self, *_: object) -> None:
                """The record has it."""

        app = self._recorded(DomainDispatcherApplication(create_backend_app))
        self._server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="moto", daemon=True
        )
        self._thread.start()
        _open.add(self)
        return self

    def stop(self) -> None:
        """May be called twice."""
        if self._server is None:
            return
        from moto.moto_api._internal.models import moto_api_backend

        self._server.shutdown()
        self._server.server_close()
        self._server = None
        _open.discard(self)
        if not _open:
            moto_api_backend.reset()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def client(self, service: str, who: str = OPERATOR) -> Any:
        return client_of(self.url, service, who)

    def calls_by(self, names: Iterable[str]) -> dict[str, set[Call]]:
        """What each of these functions has asked AWS for."""
        keys = {access_key(name): name for name in names}
        by_name: dict[str, set[Call]] = {name: set() for name in keys.values()}
        for call in self.calls:
            if call.access_key in keys:
                by_name[keys[call.access_key]].add(call)
        return by_name

    def _recorded(self, app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        def recording(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            length = int(environ.get("CONTENT_LENGTH") or 0)
            body = environ["wsgi.input"].read(length) if length else b""
            if length:
                environ["wsgi.input"] = io.BytesIO(body)
            headers = {
                "authorization": environ.get("HTTP_AUTHORIZATION", ""),
                "x-amz-target": environ.get("HTTP_X_AMZ_TARGET", ""),
            }
            call = call_of(
                environ["REQUEST_METHOD"],
                environ["PATH_INFO"],
                environ.get("QUERY_STRING", ""),
                headers,
                body,
            )
            if call is not None:
                self.calls.add(call)
            environ["HTTP_X_MOTO_ACCOUNT_ID"] = self.account
            return app(environ, start_response)

        return recording


def client_of(url: str, service: str, who: str = OPERATOR) -> Any:
    """A client of boto3's, as this function or person."""
    import boto3

    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=access_key(who),
        aws_secret_access_key="moto-looks-at-none",  # noqa: S106
    )
