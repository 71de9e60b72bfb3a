"""Runs in an object store: the same bytes as in a folder, through faults of the store and of what works on it.

The store is S3 (moto) behind a server that injects faults. Each of the two raylets has a scratch folder of its own, as
two machines have: what one of them has not brought to the store, the other does not see.
"""

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml

from tests.conftest import REPOSITORY, S3_SECRET, Sluice
from tests.manifests import name_of, parts_of
from tests.servers import SLOW_DOWN, Fault, FaultyServer, Request, faulty_server, put_objects, s3_server
from tests.stages.training.conftest import PROXIES, sums_to_answer, tokenized, write_sources

BUCKET = "bucket"
WORDS = ["the", "of", "and", "to", "that", "be", "with", "have", *(f"word{i}" for i in range(20))]
RECIPE = """
name: stored
artifacts:
  web: {stage: json_lines, files: web-*.jsonl}
  code: {stage: json_lines, files: code-*.jsonl}
  clean: {from: web, chain: [gopher_quality: {min_words: 30}]}
  unique: {stage: dedup, from: [clean, code]}
  tokens: {stage: tokenize, from: unique, vocabulary: 270, shard_tokens: 5000}
"""


@dataclass(frozen=True)
class Store:
    """An S3 store behind a server of faults, and the command line with a way there."""

    front: FaultyServer
    behind: str  # endpoint without faults
    sluice: Sluice
    environment: dict[str, str]

    def command(self, *arguments: str | Path) -> list[str]:
        return self.sluice.command(*arguments, "--address", self.sluice.address)

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Give a command; goes on beside."""
        return subprocess.Popen(
            self.command(*arguments),
            env=self.environment,
            cwd=REPOSITORY,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, recipe: Path | str, name: str, status: int = 0) -> str:
        """`sluice run` to its end in a folder of the store; returns what it printed."""
        process = self.start("run", recipe, "--out", f"s3://{BUCKET}/{name}")
        output, _ = process.communicate(timeout=300)
        assert process.returncode == status, output
        assert "Traceback" not in output, output
        return output

    def client(self) -> Any:
        return botocore.session.get_session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.behind,
            aws_access_key_id="key",
            aws_secret_access_key=S3_SECRET,
        )

    def objects(self, name: str) -> dict[str, bytes]:
        """All that lies in a run's folder of the store, by key below it."""
        client, prefix = self.client(), f"{name}/"
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
        return {key[len(prefix) :]: client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


@pytest.fixture(scope="module")
def stored_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of two raylets that share no folder of fetched files."""
    from ray.cluster_utils import Cluster

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(REPOSITORY)}
    os.environ |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": S3_SECRET}
    os.environ["SLUICE_SCRATCH"] = str(tmp_path_factory.mktemp("first"))
    node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    os.environ["SLUICE_SCRATCH"] = str(tmp_path_factory.mktemp("second"))
    cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
    del os.environ["SLUICE_SCRATCH"]
    yield cluster.address
    cluster.shutdown()


@pytest.fixture(scope="module")
def store(stored_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with s3_server() as behind, faulty_server(upstream=behind) as front:
        put_objects(behind, BUCKET, {})
        scratch = tmp_path_factory.mktemp("driver")
        environment = os.environ | {"AWS_ENDPOINT_URL": front.url, "SLUICE_SCRATCH": str(scratch)}
        yield Store(front, behind, Sluice(stored_address), environment)


@pytest.fixture(autouse=True)
def _no_faults_left(store: Store) -> Iterator[None]:
    yield
    store.front.choose = None


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources of three files each; a fifth of the pages are copies."""
    folder, draws = tmp_path_factory.mktemp("recipe"), random.Random(1)
    pages: list[str] = []
    for kind, words in (("web", 60), ("code", 40)):
        for number in range(3):
            for _ in range(60):
                text = " ".join(draws.choices(WORDS, k=words))
                pages.append(draws.choice(pages) if pages and draws.random() < 0.2 else text)
            lines = "".join(json.dumps({"text": page}) + "\n" for page in pages[-60:])
            (folder / f"{kind}-{number}.jsonl").write_text(lines)
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder / "recipe.yaml"


Contents = dict[str, list[tuple[str, list[tuple[str, str]], Any]]]


def contents(manifests: list[bytes]) -> Contents:
    """By artifact its parts: name, files with their digests, ledger."""
    found: Contents = {}
    for manifest in manifests:
        found[name_of(manifest)] = [
            (p["name"], [(f["path"], f["sha256"]) for f in p["files"]], p["ledger"]) for p in parts_of(manifest)
        ]
    return found


@pytest.fixture(scope="module")
def undisturbed(recipe: Path, stored_address: str) -> Contents:
    """What a run in a folder gives, of which nothing is in a store."""
    Sluice(stored_address).run(recipe)
    return contents([path.read_bytes() for path in (recipe.parent / "run").glob("artifacts/*/manifests/*.jsonl")])


def stored_contents(store: Store, name: str) -> Contents:
    """The same of a run in the store, each of whose files is as its record says."""
    import hashlib

    objects = store.objects(name)
    for key, content in objects.items():
        if "/commits/" in key:
            part = json.loads(content)
            for file in part["files"]:
                body = objects[f"{key.partition('/commits/')[0]}/{part['folder']}/{file['path']}"]
                assert hashlib.sha256(body).hexdigest() == file["sha256"], (key, file["path"])
    return contents([content for key, content in objects.items() if "/manifests/" in key])


def test_a_run_in_a_store_is_that_in_a_folder_and_all_commands_read_it(
    store: Store, recipe: Path, undisturbed: Contents
) -> None:
    output = store.run(recipe, "plain")
    assert f"Report: s3://{BUCKET}/plain/report.html" in output
    assert stored_contents(store, "plain") == undisturbed
    assert store.objects("plain")["report.html"].startswith(b"<!DOCTYPE html>")
    again = store.run(recipe, "plain")
    assert "nothing was run" in again

    def said(*arguments: str) -> str:
        command = store.sluice.command(arguments[0], f"s3://{BUCKET}/plain", *arguments[1:])
        done = subprocess.run(command, env=store.environment, cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "stored: done, 8 of 8 artifacts are there" in said("status")
    assert "tokens" in said("explain", "--shard", "tokens/code/train-00000.bin:5")
    assert said("report").strip() == f"s3://{BUCKET}/plain/report.html"


RECIPE_IN_A_STORE = """
name: stored
artifacts:
  web: {stage: json_lines, files: pages/web-*.jsonl, columns: {url: link}, remote: {endpoint: "ENDPOINT"}}
  clean:
    from: web
    chain:
      - url_filter: {lists: {mine: lists/bad.txt}}
      - decontaminate: {files: ../sets/*.jsonl, ngram: 8}
"""


@pytest.mark.slow
def test_a_recipe_and_all_that_it_names_can_lie_in_a_store(store: Store, stored_address: str, tmp_path: Path) -> None:
    """Each raylet fetches the lists for itself: they share no folder."""
    draws = random.Random(2)
    texts = [" ".join(draws.choices(WORDS, k=40)) for _ in range(40)]
    objects = {
        f"recipes/pages/web-{part}.jsonl": "".join(
            json.dumps({"text": text, "link": f"http://{'bad' if text in texts[::5] else 'good'}.example/"}) + "\n"
            for text in texts[part::4]
        )
        for part in range(4)
    }
    objects |= {"recipes/recipe.yaml": RECIPE_IN_A_STORE.replace("ENDPOINT", store.behind)}
    objects |= {"recipes/lists/bad.txt": "bad.example\n", "sets/quiz.jsonl": json.dumps({"question": texts[6]}) + "\n"}
    client = store.client()
    for key, content in objects.items():
        client.put_object(Bucket=BUCKET, Key=key, Body=content.encode())
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content.replace("pages/", f"s3://{BUCKET}/recipes/pages/"))
    store.run(f"s3://{BUCKET}/recipes/recipe.yaml", "recipes/run")
    sluice = ["run", tmp_path / "recipes/recipe.yaml", "--out", tmp_path / "run"]
    done = subprocess.run(store.command(*sluice), env=store.environment, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    local = contents([path.read_bytes() for path in (tmp_path / "run").glob("artifacts/*/manifests/*.jsonl")])
    assert stored_contents(store, "recipes/run") == local
    dropped: Counter[str] = Counter()
    for _, _, ledger in local["clean"]:
        for step in ledger.values():
            for counts in step.values():
                dropped.update(counts.get("dropped", {}))
    assert dropped == {"blocked_domain": 8, "evaluation_passage": 1}


@pytest.mark.slow
def test_a_run_in_a_store_goes_against_an_index_in_another(store: Store, recipe: Path, tmp_path: Path) -> None:
    """The second run of the same pages keeps none of them."""
    kept = {}
    for name in ("first", "second"):
        text = RECIPE.replace(
            "from: [clean, code]}", f"from: [clean, code], against: s3://indexes/all, add_as: {name}, max_loss: 1}}"
        )
        text = text.partition("  tokens:")[0].replace("files: ", f"source: {name}-KIND, files: {recipe.parent}/")
        text = text.replace("KIND", "web", 1).replace("KIND", "code", 1)
        (tmp_path / "recipe.yaml").write_text(text)
        if name == "first":
            put_objects(store.behind, "indexes", {})
        store.run(tmp_path / "recipe.yaml", f"against-{name}")
        ledgers = [ledger for _, _, ledger in stored_contents(store, f"against-{name}")["unique"]]
        kept[name] = sum(n["kept"] for ledger in ledgers for step in ledger.values() for n in step.values())
    assert kept["first"] > 200
    assert kept["second"] == 0
    keys = [f["Key"] for f in store.client().list_objects_v2(Bucket="indexes")["Contents"]]
    assert [key for key in keys if "/generations/" in key] == ["all/generations/1.json", "all/generations/2.json"]


TRAINED = {"mix.swarm": "runs.parquet", "mix": "mix.yaml", "model": ".safetensors"}


@pytest.mark.slow
def test_a_mix_and_a_model_are_trained_in_a_store_as_in_a_folder(
    store: Store, stored_address: str, tmp_path: Path
) -> None:
    """Swarm, mix and pretraining: checkpoints, answers and models lie in the store, and the same bytes come out."""
    write_sources(tmp_path)
    sums_to_answer(tmp_path / "adding.jsonl")
    store.client().put_object(Bucket=BUCKET, Key="adding.jsonl", Body=(tmp_path / "adding.jsonl").read_bytes())

    def recipe_with(answers: str) -> Path:
        proxies = {**PROXIES, "answer_sets": {"adding": answers}}
        mix = {"stage": "mix", "from": "tokens", "runs": 14, "first_runs": 12, "size": "tiny", "steps": 40, **proxies}
        model = {"stage": "pretrain", "from": ["tokens", "mix"], "size": "tiny", "batch": 8, "evaluations": 2}
        recipe = {"name": "trained", "artifacts": {**tokenized(), "mix": {**mix, "confirm": 0}, "model": model}}
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        return tmp_path / "recipe.yaml"

    def trained(manifests: list[bytes]) -> dict[str, str]:
        found = contents(manifests)
        return {
            f"{artifact}/{path}": digest
            for artifact, ending in TRAINED.items()
            for _, files, _ in found[artifact]
            for path, digest in files
            if path.endswith(ending)
        }

    Sluice(stored_address).run(recipe_with("adding.jsonl"))
    local = trained([path.read_bytes() for path in (tmp_path / "run").glob("artifacts/*/manifests/*.jsonl")])
    store.run(recipe_with(f"s3://{BUCKET}/adding.jsonl"), "trained")
    stored_contents(store, "trained")
    objects = store.objects("trained")
    assert trained([content for key, content in objects.items() if "/manifests/" in key]) == local
    assert {name.partition("/")[0] for name in local} == TRAINED.keys()
    assert objects["report.html"].startswith(b"<!DOCTYPE html>")
    assert "nothing was run" in store.run(tmp_path / "recipe.yaml", "trained")


def every(n: int, fault: Fault, wanted: Callable[[Request], bool] = lambda request: True) -> Callable[..., Any]:
    """A chooser that lets a fault befall each n-th of the wanted requests."""
    count = iter(range(1 << 30))

    def choose(request: Request) -> Fault | None:
        return fault if wanted(request) and next(count) % n == n - 1 else None

    return choose


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", 503, body=SLOW_DOWN),
        Fault("status", 500),
        Fault("reset"),  # behind what the request did: the answer is lost
        Fault("truncate", after=20),
        Fault("drip", after=2000, seconds=0.05),
    ],
    ids=["503", "500", "lost answers", "cut bodies", "slow"],
)
def test_a_store_that_fails_every_fifth_request_gives_the_same(
    store: Store, recipe: Path, undisturbed: Contents, fault: Fault, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id.replace(" ", "-")
    store.front.choose = every(5, fault)
    store.run(recipe, name)
    store.front.choose = None
    assert stored_contents(store, name) == undisturbed


@pytest.mark.slow
def test_a_commit_whose_answer_is_lost_is_found_to_be_ours(store: Store, recipe: Path, undisturbed: Contents) -> None:
    store.front.choose = every(2, Fault("reset"), lambda r: r.method == "PUT" and "/commits/" in r.path)
    store.run(recipe, "commits")
    store.front.choose = None
    assert stored_contents(store, "commits") == undisturbed


@pytest.mark.slow
def test_a_store_that_is_gone_ends_the_run_in_bounded_time_with_what_to_do(store: Store, recipe: Path) -> None:
    store.front.choose = every(1, Fault("status", 403), lambda r: "/data/" in r.path)
    started = time.monotonic()
    output = store.run(recipe, "forbidden", status=3)
    assert time.monotonic() - started < 60
    assert "credentials" in output
    assert "what was committed is kept" in output
    store.front.choose = None
    store.run(recipe, "forbidden")


@pytest.mark.slow
def test_a_killed_driver_goes_on_in_the_store_from_another_machine(
    store: Store, recipe: Path, undisturbed: Contents, tmp_path: Path
) -> None:
    process = store.start("run", recipe, "--out", f"s3://{BUCKET}/killed")
    while not any("/killed/artifacts/code/commits/" in r.path and r.status == 200 for r in list(store.front.requests)):
        time.sleep(0.05)
        assert process.poll() is None, process.communicate()[0]
    process.send_signal(signal.SIGKILL)
    process.wait()
    other = Store(store.front, store.behind, store.sluice, store.environment | {"SLUICE_SCRATCH": str(tmp_path)})
    output = other.run(recipe, "killed")
    assert "are there already; going on" in output
    assert stored_contents(store, "killed") == undisturbed


def test_a_store_that_does_not_refuse_a_taken_name_is_refused(store: Store, recipe: Path) -> None:
    front = store.front
    plain = front._server.RequestHandlerClass  # type: ignore[attr-defined]

    class Forgetful(plain):  # type: ignore[misc, valid-type]
        def do_PUT(self) -> None:  # noqa: N802
            del self.headers["If-None-Match"]
            super().do_PUT()

    front._server.RequestHandlerClass = Forgetful
    try:
        output = store.run(recipe, "forgetful", status=3)
    finally:
        front._server.RequestHandlerClass = plain
    assert "does not refuse a name that is taken" in output
    assert not store.objects("forgetful")


@pytest.mark.slow
def test_what_killed_processes_left_in_a_store_is_removed_once_it_is_old(store: Store, recipe: Path) -> None:
    store.run(recipe, "cleaned")
    before, client = store.objects("cleaned"), store.client()
    key = "cleaned/artifacts/code/data/ffff.00000000/documents.parquet"
    client.put_object(Bucket=BUCKET, Key=key, Body=b"12345")

    def said(*arguments: str) -> str:
        command = store.sluice.command("clean", f"s3://{BUCKET}/cleaned", *arguments)
        done = subprocess.run(command, env=store.environment, cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "attempt" not in said()  # it may be somebody's at this moment
    assert key.removeprefix("cleaned/") in store.objects("cleaned")
    client.create_multipart_upload(Bucket=BUCKET, Key=key)  # now: moto says of all that they began in 2010
    output = said("--older-than", "0")
    assert f"attempt: s3://{BUCKET}/{key.rpartition('/')[0]} (5 bytes)" in output
    assert f"unfinished upload: s3://{BUCKET}/{key}" in output
    assert store.objects("cleaned") == before
    assert client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []
    assert "0 leftovers" in said("--older-than", "0")


@pytest.mark.slow
def test_a_full_scratch_folder_is_told_and_the_run_goes_on_once_there_is_room(
    store: Store, recipe: Path, undisturbed: Contents, tiny_disk: Path
) -> None:
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_SCRATCH", str(tiny_disk))
        node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 << 20}
        cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        starved = Store(store.front, store.behind, Sluice(cluster.address), store.environment)
        output = starved.run(recipe, "full", status=3)
        assert "No space left on device" in output
        assert str(tiny_disk) in output
        assert "give the same command again" in output
        subprocess.run(["mount", "-o", "remount,size=64m", tiny_disk], check=True)
        starved.run(recipe, "full")
    finally:
        cluster.shutdown()
    assert stored_contents(store, "full") == undisturbed
