from starlette.testclient import TestClient
import json


def test_it(client: TestClient) -> None:
    for text in ("Hello, my name is Ada.", "book me an appointment tomorrow", "what is my name?"):
        assert client.post("/v1/turns", json={"message": text}).status_code == 200
    gone = client.delete("/v1/user")
    print(json.dumps(gone.json(), indent=1))
    assert client.delete("/v1/user").json() == gone.json()
    assert 0
