"""The store in a folder and in a bucket: the same behaviour."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from geolabel.adapters.store import Store
from geolabel.errors import NotFoundError, StoreError


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    boto3 = pytest.importorskip("boto3")
    server_module = pytest.importorskip("moto.server")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", url)
        client = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
        client.create_bucket(Bucket="geolabel-test")
        client.close()
        yield "s3://geolabel-test/prefix"
    server.stop()


@pytest.fixture(params=["folder", "bucket"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return Store(str(tmp_path / "store"))
    return Store(str(request.getfixturevalue("bucket")) + f"/{tmp_path.name}")


def test_objects_are_written_read_listed_and_removed(any_store: Store, tmp_path: Path) -> None:
    store = any_store
    assert list(store.list("scenes")) == []
    assert not store.exists("scenes/a.json")
    store.put_json("scenes/b.json", {"z": 1, "a": "ü"})
    store.put("scenes/a.json", b"{}")
    store.put("other/c", b"c")
    assert store.get_json("scenes/b.json") == {"z": 1, "a": "ü"}
    assert list(store.list("scenes")) == ["scenes/a.json", "scenes/b.json"]
    assert len(list(store.list())) == 3
    store.put("scenes/a.json", b"[1]")
    assert store.get_json("scenes/a.json") == [1]
    (tmp_path / "file.bin").write_bytes(b"x" * 100_000)
    store.put_file("big/file.bin", tmp_path / "file.bin")
    with store.local_path("big/file.bin") as path:
        assert path.read_bytes() == b"x" * 100_000
    store.delete("scenes/a.json")
    store.delete("scenes/a.json")
    assert not store.exists("scenes/a.json")


def test_of_many_writers_one_is_first(any_store: Store) -> None:
    wins: list[int] = []

    def write(number: int) -> None:
        if any_store.put_if_absent("locks/one", str(number).encode()):
            wins.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert any_store.get("locks/one") == str(wins[0]).encode()


def test_what_is_missing_or_damaged_is_said(any_store: Store) -> None:
    with pytest.raises(NotFoundError, match="no/such"):
        any_store.get("no/such")
    with pytest.raises(NotFoundError, match="no/such"), any_store.local_path("no/such"):
        pass
    any_store.put("bad.json", b"{")
    with pytest.raises(StoreError, match="is no JSON"):
        any_store.get_json("bad.json")


def test_a_place_that_cannot_hold_a_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="can't be opened"):
        Store(str(tmp_path / "file" / "store"))
