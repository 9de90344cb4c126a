"""Some turns of devices, over HTTP, for an operator to look at: what was done is known, and so is what nobody may see."""

import http.client
import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from dev.demo_model import Fault, Reply
from tests.browser.service import OPERATOR, Service
from tests.databases import run

# In messages, arguments, notes, reasons and metadata alike. No operator ever sees it.
SECRET = "xylophone-marmalade"


@dataclass(slots=True)
class Device:
    service: Service
    id: UUID = field(default_factory=uuid4)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return call(self.service, method, path, body, **{"X-Device-ID": str(self.id), **headers})

    def say(self, text: str = "Hello", **more: Any) -> Any:
        return self.call("POST", "/v1/turns", {"message": f"{text} {SECRET}", **more})

    @property
    def session(self) -> str:
        return str(self.call("GET", "/v1/session")["id"])


def call(service: Service, method: str, path: str, body: Any = None, **headers: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=40)
    try:
        given = {"Content-Type": "application/json", **headers}
        connection.request(method, path, None if body is None else json.dumps(body), given)
        answer = connection.getresponse()
        said = answer.read()
        assert answer.status < 300, said
        return json.loads(said) if said else None
    finally:
        connection.close()


def as_operator(service: Service, path: str) -> Any:
    return call(service, "GET", f"/v1/admin{path}", Authorization=f"Bearer {OPERATOR}")


def answered(service: Service) -> Device:
    device = Device(service)
    assert device.say()["status"] == "completed"
    return device


def failed(service: Service) -> Device:
    """The model refuses what it is sent."""
    device = Device(service)
    service.model.faults.add(Fault.status(400))
    assert device.say()["status"] == "failed"
    return device


def locked(service: Service, agent: str = "billing") -> Device:
    device = answered(service)
    device.call("PUT", "/v1/session/lock", {"agent": agent, "reason": SECRET})
    return device


def asked(service: Service) -> Device:
    """A turn that waits for a person's yes, in the hands of an agent that was given the conversation first."""
    device = locked(service, "scheduling")
    device.call("PATCH", "/v1/session", {"metadata": {"note": SECRET}})
    service.model.replies.add(
        Reply(
            [
                {"type": "text", "text": SECRET},
                {"type": "tool_use", "name": "cancel_appointment", "input": {"number": 7}},
            ]
        )
    )
    assert device.say("Cancel it")["status"] == "waiting"
    return device


def decided(service: Service) -> Device:
    device = asked(service)
    (approval,) = device.call("GET", "/v1/approvals")["items"]
    device.call("POST", f"/v1/approvals/{approval['id']}", {"decision": "deny", "note": SECRET})
    turn = device.call("GET", f"/v1/turns/{approval['turn_id']}?wait_s=20")
    assert turn["status"] == "completed", turn
    return device


def crashed(service: Service) -> Device:
    """A turn whose function died once, as its row says."""
    device = answered(service)
    run(service.database_url, "UPDATE turns SET crashes = 1 WHERE session_id = %s", device.session)
    return device


def hours(service: Service) -> dict[str, Device]:
    """One of each."""
    return {work.__name__: work(service) for work in (answered, failed, locked, asked, decided, crashed)}


def strand(device: Device) -> None:
    """Its last turn is queued again, an answer and all: nobody was woken for it."""
    run(
        device.service.database_url,
        "UPDATE turns SET status = 'queued', ended_at = NULL, created_at = now() - interval '2 minutes' "
        "WHERE id = (SELECT id FROM turns WHERE session_id = %s ORDER BY seq DESC LIMIT 1)",
        device.session,
    )


def hold(device: Device) -> None:
    """A function holds it, and will not be heard of in the next minute."""
    run(
        device.service.database_url,
        "UPDATE conversation_states SET lease_expires_at = now() + interval '1 minute' WHERE id = %s",
        device.session,
    )
