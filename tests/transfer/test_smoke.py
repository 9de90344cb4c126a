from starlette.testclient import TestClient


def test_it(client: TestClient) -> None:
    for text in ("Hello, my name is Ada.", "book me an appointment tomorrow", "what is my name?"):
        assert client.post("/v1/turns", json={"message": text}).status_code == 200
    out = client.get("/v1/session/export")
    print(out.text[:3000])
    assert out.status_code == 200, out.text
    back = client.post("/v1/sessions/import", content=out.content)
    assert back.status_code == 201, back.text
    again = client.get(f"/v1/sessions/{back.json()['id']}/export")
    print(again.text[-3000:])
    assert len(again.text.splitlines()) == len(out.text.splitlines())
    assert 0
