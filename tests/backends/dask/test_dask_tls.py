"""A scheduler, a worker and clients over TLS on 127.0.0.1, with an authority of our own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from dask_clusters import ROOT, Processes, make_certificates

import rxpipe as rxp
from rxpipe.errors import BackendRejected
from rxpipe.plan import build_stage_execution_plan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
PLAN = build_stage_execution_plan(rxp.PipelineConfig(txt2img=rxp.Txt2ImgConfig(prompt="a")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Certificates of our authority and of another."""
    made = tmp_path_factory.mktemp("certificates")
    make_certificates(made, "ca", "node")
    make_certificates(made, "other", "stranger")
    return made


@pytest.fixture(scope="module")
def encrypted(folder):
    with Processes(1, certificates=folder) as running:
        yield running


def files(folder, ca="ca", name="node"):
    """Options for certificates, by name."""
    return {"tls_ca": folder / f"{ca}.pem", "tls_cert": folder / f"{name}.pem", "tls_key": folder / f"{name}-key.pem"}


def behind(url, options):
    """An address with options behind it."""
    return f"{url}?{'&'.join(f'{name}={value}' for name, value in options.items())}"


def rxpipe(*words, **environment):
    """What the program prints, once it has ended well."""
    ended = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-m", "rxpipe", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def pictures(backend):
    size = {"images": 2, "seed": 7, "width": 128, "height": 128, "steps": 3}
    parts = (rxp.txt2img(prompt="a face", **size), rxp.img2img(), rxp.adetailer(), rxp.upscale(scale=2))
    result = rxp.PipelineRunner(backend).run(rxp.chain(*parts, out=None))
    result.raise_for_status()
    assert len(result.records) == 8
    return [result.artifact(image).to_image().tobytes() for image in result.images]


def test_four_stages_over_tls_make_the_same_pictures(encrypted, folder):
    assert "tls://127.0.0.1" in encrypted.await_greeting("w0")
    with rxp.open_backend(encrypted.url, **files(folder)) as backend, rxp.open_backend("embedded") as alone:
        assert pictures(backend) == pictures(alone)
        again = backend.where
    with rxp.open_backend(again) as backend:
        assert backend.check(PLAN) == []


def test_the_program_finds_its_certificates(encrypted, folder, tmp_path):
    """Behind the address, in the environment, in the config file, in Dask's own settings; and for `resume`."""
    address, store = behind(encrypted.url, files(folder)), str(tmp_path / "runs.sqlite3")
    job = ("--prompt", "a", "--stages", "txt2img", "--size", "64x64", "--steps", "2", "--images", "2", "--json")
    run = rxpipe("run", "--backend", address, "--out", str(tmp_path / "out"), *job, "--store", store)
    assert json.loads(run.splitlines()[-1])["status"] == "completed"
    assert "ready" in rxpipe("doctor", RXPIPE_BACKEND=address)
    config = tmp_path / "config.toml"
    options = "\n".join(f"{name} = {json.dumps(str(path))}" for name, path in files(folder).items())
    config.write_text(f"[backend]\nurl = {json.dumps(encrypted.url)}\n{options}\n", encoding="utf-8")
    assert "ready" in rxpipe("doctor", RXPIPE_CONFIG=str(config))
    setting = "DASK_DISTRIBUTED__COMM__TLS__"
    own = {"CA_FILE": "ca", "CLIENT__CERT": "node", "CLIENT__KEY": "node-key"}
    found = rxpipe(
        "doctor", encrypted.url, **{f"{setting}{name}": str(folder / f"{file}.pem") for name, file in own.items()}
    )
    assert "ready" in found
    assert "without a password" not in found


@pytest.mark.parametrize(
    ("own", "says"),
    [
        (None, "it expects TLS: use tls:// with tls_ca, tls_cert and tls_key"),
        (("other", "stranger"), "its certificate is not of the authority in tls_ca"),
        (("ca", "stranger"), "it refuses the certificate in tls_cert: unknown ca"),
    ],
    ids=["no certificate", "another authority", "of another authority"],
)
def test_who_has_no_certificate_of_the_authority_is_refused_and_hears_why(encrypted, folder, own, says):
    """A client at once, a worker while it waits for something better."""
    options = files(folder, *own) if own else {}
    url = encrypted.url if own else encrypted.url.replace("tls://", "dask://")
    with rxp.open_backend(url, **options) as backend, pytest.raises(BackendRejected, match=says):
        backend.check(PLAN)
    flags = [text for name, path in options.items() for text in (f"--{name.replace('_', '-')}", str(path))]
    encrypted.add("refused", *(flags or ["--resources", "gpu=1"]), url=url)
    assert says in encrypted.await_greeting("refused", "waits for the scheduler")
    encrypted.kill("refused")


def test_a_scheduler_without_tls_is_refused_by_who_expects_it(folder):
    with (
        Processes(0) as plain,
        rxp.open_backend(plain.url, **files(folder)) as backend,
    ):
        plain.restore()
        with pytest.raises(BackendRejected, match="it does not answer with TLS"):
            backend.check(PLAN)
