"""A real Kubernetes API server on 127.0.0.1, envtest style: etcd, kube-apiserver and the CRD server, throw-away state.

The first of these that is there is used:

- `TEST_KUBECONFIG`: an administrator's kubeconfig of any cluster that may be written to.
- `KUBEBUILDER_ASSETS`: a folder with a current `etcd` and `kube-apiserver` (envtest's convention).
- `KUBE_ENVTEST_BIN`, or `.cache/kube-envtest`: a folder with `etcd`, `kube-apiserver` (1.20, for RBAC, tokens and
  namespaces) and `apiextensions-apiserver` (current, for the custom resources). The first forwards the API group
  `stormconsole.io` to the second: one endpoint, real RBAC, today's CRD behaviour. Where the folder is missing it is
  unpacked from the archive in `KUBE_ENVTEST` (default `../shared/kube-envtest`).

No controllers run in the last two: a deleted namespace stays, owners are not collected.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import ssl
import subprocess
import tarfile
import tempfile
import uuid
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from kubernetes.client import Configuration
from kubernetes.config import load_kube_config

from stormconsole.embedded import die_with_parent, free_port
from storms.cluster import crd
from storms.cluster.connection import connect
from storms.cluster.install import install_crd, is_served
from tests.harness.wait import wait_until

PROJECT = Path(__file__).resolve().parents[2]
CACHE = PROJECT / ".cache" / "kube-envtest"
ARCHIVE = "kube-envtest-linux-amd64.tar.xz"
HOW_TO_ENABLE = (
    "no Kubernetes API server: set TEST_KUBECONFIG (an administrator's kubeconfig), KUBEBUILDER_ASSETS (envtest's "
    f"folder with etcd and kube-apiserver), or KUBE_ENVTEST (a folder with {ARCHIVE})"
)
SERVICE_ACCOUNTS = {"stormconsole": "rbac.yaml", "operator-simulator": "rbac-operator-simulator.yaml"}
RESOURCES = f"/apis/{crd.GROUP}/{crd.VERSION}"


class Kube:
    """A cluster with the CRD, the RBAC of `deploy/`, and kubeconfigs for both of its accounts.

    `kubeconfig` is the console's own, limited account; `operator_kubeconfig` the one that writes `status`;
    `admin_kubeconfig` may do everything but install CRDs, which `crd_kubeconfig` may. `admin` is an HTTP client with
    the administrator's rights, for assertions. `server` is the API server if it is ours, to be killed and wiped.
    """

    def __init__(
        self, directory: Path, admin_kubeconfig: Path, crd_kubeconfig: Path, server: ApiServer | None = None
    ) -> None:
        self.directory = directory
        self.server = server
        self.admin_kubeconfig = str(admin_kubeconfig)
        self.crd_kubeconfig = str(crd_kubeconfig)
        self.admin = _client(self.admin_kubeconfig)
        self._crd_admin = _client(self.crd_kubeconfig)

    @property
    def url(self) -> str:
        return str(self.admin.base_url).rstrip("/")

    @cached_property
    def kubeconfig(self) -> str:
        return self.account_kubeconfig("stormconsole")

    @cached_property
    def operator_kubeconfig(self) -> str:
        return self.account_kubeconfig("operator-simulator")

    def prepare(self) -> None:
        """Install the CRD and the RBAC, as an administrator would."""
        install_crd(connect(self.crd_kubeconfig, timeout_seconds=10))
        for manifest in SERVICE_ACCOUNTS.values():
            for document in yaml.safe_load_all((PROJECT / "deploy" / manifest).read_text()):
                self.apply(document)
        served = connect(self.admin_kubeconfig, timeout_seconds=10)
        wait_until(lambda: _serves(served), 30, "RemediationRequests are not served")

    @contextlib.contextmanager
    def without_crd(self) -> Iterator[None]:
        """The cluster as it was before the installation. Every RemediationRequest is gone afterwards."""
        definition = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd.CRD_NAME}"
        # The server would delete them itself, one namespace after the other, with pauses.
        self.delete_all()
        self._crd_admin.delete(definition).raise_for_status()
        wait_until(lambda: self._crd_admin.get(definition).status_code == 404, 90, "the CRD is deleted")
        wait_until(lambda: self.admin.get(f"{RESOURCES}/{crd.PLURAL}").status_code == 404, 30, "nothing is served")
        try:
            yield
        finally:
            self.prepare()

    def apply(self, document: dict[str, Any]) -> None:
        """Create or update one of the kinds in deploy/."""
        answer = self.admin.patch(
            _path_of(document),
            params={"fieldManager": "tests", "force": "true"},
            headers={"Content-Type": "application/apply-patch+yaml"},
            content=yaml.safe_dump(document),
        )
        answer.raise_for_status()

    def account_kubeconfig(self, account: str, namespace: str = "stormconsole", *, server: str = "") -> str:
        """Path of a kubeconfig with a fresh token of a ServiceAccount; `server`: an address other than our own."""
        answer = self.admin.post(
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token",
            json={
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"expirationSeconds": 86_400},
            },
        )
        answer.raise_for_status()
        name = f"{account}-elsewhere" if server else account
        return self.token_kubeconfig(name, answer.json()["status"]["token"], server)

    def token_kubeconfig(self, name: str, token: str, server: str = "") -> str:
        """Path of a kubeconfig with a bearer token."""
        path = self.directory / f"{name}.kubeconfig"
        admin = yaml.safe_load(Path(self.admin_kubeconfig).read_text())
        context = next(c["context"] for c in admin["contexts"] if c["name"] == admin["current-context"])
        [cluster] = [c["cluster"] for c in admin["clusters"] if c["name"] == context["cluster"]]
        path.write_text(_kubeconfig({**cluster, **({"server": server} if server else {})}, {"token": token}))
        path.chmod(0o600)
        return str(path)

    def new_namespace(self, prefix: str = "team") -> str:
        """The name of a namespace that nobody else uses."""
        name = f"{prefix}-{uuid.uuid4().hex[:10]}"
        self.create_namespace(name)
        return name

    def create_namespace(self, name: str) -> None:
        """A no-op when it exists."""
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def resources(self, namespace: str = "") -> list[dict[str, Any]]:
        """The RemediationRequests of one namespace, or of all."""
        scope = f"/namespaces/{namespace}" if namespace else ""
        answer = self.admin.get(f"{RESOURCES}{scope}/{crd.PLURAL}")
        answer.raise_for_status()
        return list(answer.json()["items"])

    def resource(self, namespace: str, name: str) -> dict[str, Any] | None:
        answer = self.admin.get(self.path(namespace, name))
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        return dict(answer.json())

    def delete_all(self) -> None:
        """Every RemediationRequest of every namespace, those too that somebody's finalizer would keep."""
        resources = self.resources()
        for metadata in (resource["metadata"] for resource in resources):
            if metadata.get("finalizers"):
                self.edit(metadata["namespace"], metadata["name"], {"metadata": {"finalizers": None}})
        for namespace in {resource["metadata"]["namespace"] for resource in resources}:
            self.admin.delete(f"{RESOURCES}/namespaces/{namespace}/{crd.PLURAL}").raise_for_status()

    def edit(self, namespace: str, name: str, patch: dict[str, Any], *, manager: str = "kubectl-edit") -> None:
        """A merge patch, as a person with `kubectl edit` would."""
        self.admin.patch(
            self.path(namespace, name),
            params={"fieldManager": manager},
            headers={"Content-Type": "application/merge-patch+json"},
            json=patch,
        ).raise_for_status()

    def set_status(self, namespace: str, name: str, phase: str, message: str = "") -> None:
        """As a remediation operator would."""
        self.admin.patch(
            f"{self.path(namespace, name)}/status",
            params={"fieldManager": "operator"},
            headers={"Content-Type": "application/merge-patch+json"},
            json={"status": {"phase": phase, "message": message}},
        ).raise_for_status()

    def count_applies(self) -> int:
        """Server-side applies of RemediationRequests that the API server has taken so far, by its own metrics."""
        answer = self._crd_admin.get("/metrics")
        answer.raise_for_status()
        wanted = ('verb="APPLY"', f'resource="{crd.PLURAL}"', f'group="{crd.GROUP}"', 'subresource=""')
        return sum(
            int(float(line.rsplit(" ", 1)[1]))
            for line in answer.text.splitlines()
            if line.startswith("apiserver_request_total{") and all(label in line for label in wanted)
        )

    def path(self, namespace: str, name: str) -> str:
        return f"{RESOURCES}/namespaces/{namespace}/{crd.PLURAL}/{name}"

    def client(self, kubeconfig: str) -> httpx.Client:
        """An HTTP client with the rights of an account; the caller closes it."""
        return _client(kubeconfig)

    def close(self) -> None:
        self.admin.close()
        self._crd_admin.close()


class ApiServer:
    """etcd, kube-apiserver and, where it is a program of its own, the CRD server, as child processes."""

    def __init__(self, programs: Path, directory: Path) -> None:
        self.programs = programs
        self.directory = directory
        self.split = (programs / "apiextensions-apiserver").exists()
        self.etcd_port, self.peer_port, self.port, self.crd_port = (free_port() for _ in range(4))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    @property
    def crd_kubeconfig(self) -> Path:
        """Where CRDs are registered, and where the requests for them are counted."""
        return self.directory / ("kubeconfig-crd" if self.split else "kubeconfig")

    def start(self) -> None:
        _make_keys(self.directory)
        self._write_kubeconfig("kubeconfig", self.port)
        if self.split:
            self._write_kubeconfig("kubeconfig-crd", self.crd_port)
        self.resume()
        if self.split:
            self._forward_group()

    def resume(self) -> None:
        """Start what does not run, with the data that etcd has, and wait until all of it is ready."""
        self._launch("etcd", self._etcd_options())
        self._launch("kube-apiserver", self._core_options())
        self._await_ready("kube-apiserver", self.kubeconfig)
        if self.split:
            self._launch("apiextensions-apiserver", self._crd_options())
            self._await_ready("apiextensions-apiserver", self.crd_kubeconfig)

    def wipe(self) -> None:
        """A new, empty cluster at the old address, with the old certificates: etcd lost everything."""
        self.stop()
        shutil.rmtree(self.directory / "etcd")
        self.resume()
        if self.split:
            self._forward_group()

    @property
    def running(self) -> list[str]:
        """The programs that run, in the order of their start."""
        return list(self._processes)

    def kill(self, program: str) -> None:
        """SIGKILL one program; `resume` starts it again."""
        process = self._processes.pop(program)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """State is thrown away, so there is nothing to say goodbye to: last started, first killed."""
        for program in reversed(self.running):
            self.kill(program)

    def _launch(self, program: str, options: dict[str, str]) -> None:
        if program in self._processes:
            return
        with (self.directory / f"{program}.log").open("ab") as log:
            self._processes[program] = subprocess.Popen(
                [str(self.programs / program), *(f"--{name}={value}" for name, value in options.items())],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGKILL),
            )

    def _await_ready(self, program: str, kubeconfig: Path) -> None:
        with _client(str(kubeconfig)) as client:

            def ready() -> bool:
                process = self._processes[program]
                if process.poll() is not None:
                    raise RuntimeError(f"{process.args} stopped, see {self.directory}/*.log")
                with contextlib.suppress(httpx.TransportError):
                    return client.get("/readyz").status_code == 200
                return False

            wait_until(ready, 60, f"{kubeconfig} is not ready, see {self.directory}/*.log")

    def _forward_group(self) -> None:
        """Make the core server forward our API group to the CRD server (its aggregation layer)."""
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "crd-server"},
            "spec": {"type": "ExternalName", "externalName": "localhost"},
        }
        api_service = {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{crd.VERSION}.{crd.GROUP}"},
            "spec": {
                "group": crd.GROUP,
                "version": crd.VERSION,
                "groupPriorityMinimum": 1000,
                "versionPriority": 10,
                "insecureSkipTLSVerify": True,
                "service": {"namespace": "kube-system", "name": "crd-server", "port": self.crd_port},
            },
        }
        with _client(str(self.kubeconfig)) as client:
            client.post("/api/v1/namespaces/kube-system/services", json=service).raise_for_status()
            client.post("/apis/apiregistration.k8s.io/v1/apiservices", json=api_service).raise_for_status()

    def _write_kubeconfig(self, name: str, port: int) -> None:
        cluster = {
            "server": f"https://127.0.0.1:{port}",
            "certificate-authority": str(self.directory / "ca.crt"),
        }
        user = {
            "client-certificate": str(self.directory / "admin.crt"),
            "client-key": str(self.directory / "admin.key"),
        }
        (self.directory / name).write_text(_kubeconfig(cluster, user))

    def _etcd_options(self) -> dict[str, str]:
        client, peer = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{self.peer_port}"
        return {
            "data-dir": "etcd",
            "name": "e",
            "unsafe-no-fsync": "true",
            "log-level": "error",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"e={peer}",
        }

    def _serving_options(self, port: int) -> dict[str, str]:
        return {
            "etcd-servers": f"http://127.0.0.1:{self.etcd_port}",
            "bind-address": "127.0.0.1",
            "secure-port": str(port),
            "tls-cert-file": "tls.crt",
            "tls-private-key-file": "tls.key",
            "cert-dir": ".",
            "client-ca-file": "ca.crt",
            "requestheader-client-ca-file": "ca.crt",
            "requestheader-allowed-names": "front-proxy",
            "requestheader-username-headers": "X-Remote-User",
            "requestheader-group-headers": "X-Remote-Group",
            "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        }

    def _core_options(self) -> dict[str, str]:
        return self._serving_options(self.port) | {
            "advertise-address": "127.0.0.1",
            "endpoint-reconciler-type": "none",
            "service-cluster-ip-range": "10.0.0.0/24",
            "authorization-mode": "RBAC",
            "disable-admission-plugins": "ServiceAccount",
            "service-account-issuer": "https://envtest.local",
            "service-account-signing-key-file": "sa.key",
            "service-account-key-file": "sa.key",
            "proxy-client-cert-file": "proxy.crt",
            "proxy-client-key-file": "proxy.key",
        }

    def _crd_options(self) -> dict[str, str]:
        kubeconfig = str(self.kubeconfig)
        return self._serving_options(self.crd_port) | {
            "etcd-prefix": "/crd-server",
            "kubeconfig": kubeconfig,
            "authentication-kubeconfig": kubeconfig,
            "authorization-kubeconfig": kubeconfig,
            "authentication-skip-lookup": "true",
            "authorization-webhook-cache-authorized-ttl": "1s",
            "authorization-webhook-cache-unauthorized-ttl": "1s",
            "enable-priority-and-fairness": "false",
            # The core server is too old to serve the kinds that these two read.
            "disable-admission-plugins": "ValidatingAdmissionPolicy,MutatingAdmissionPolicy",
        }


@contextlib.contextmanager
def running_kube() -> Iterator[Kube]:
    """A prepared cluster. Raises LookupError, with the way to enable it, when there is none to use."""
    with tempfile.TemporaryDirectory(prefix="stormconsole-kube-") as scratch:
        directory = Path(scratch)
        if given := os.environ.get("TEST_KUBECONFIG"):
            yield from _prepared(Kube(directory, Path(given), Path(given)))
            return
        server = ApiServer(_programs(), directory)
        try:
            server.start()
            yield from _prepared(Kube(directory, server.kubeconfig, server.crd_kubeconfig, server))
        finally:
            server.stop()


@pytest.fixture(scope="session")
def kube() -> Iterator[Kube]:
    """One cluster for the whole session. Use `kube.new_namespace()`: the others' resources stay."""
    try:
        with running_kube() as running:
            yield running
    except LookupError as missing:
        pytest.skip(str(missing))


def _prepared(running: Kube) -> Iterator[Kube]:
    try:
        running.prepare()
        yield running
    finally:
        running.close()


def _programs() -> Path:
    """The folder with the server programs, unpacked if need be. Raises LookupError."""
    if assets := os.environ.get("KUBEBUILDER_ASSETS"):
        return Path(assets)
    folder = Path(os.environ.get("KUBE_ENVTEST_BIN") or CACHE)
    if (folder / "kube-apiserver").exists():
        return folder
    archive = PROJECT / os.environ.get("KUBE_ENVTEST", "../shared/kube-envtest") / ARCHIVE
    if folder != CACHE or not archive.exists():
        raise LookupError(HOW_TO_ENABLE)
    _unpack(archive, CACHE)
    return CACHE


def _unpack(archive: Path, folder: Path) -> None:
    """Beside its place, then moved: pytest's workers may do this at the same time."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        with tarfile.open(archive) as tar:
            tar.extractall(scratch, filter="data")
        with contextlib.suppress(OSError):  # somebody was quicker
            Path(scratch).rename(folder)
        Path(scratch).mkdir(exist_ok=True)


def _make_keys(directory: Path) -> None:
    """One CA; certificates to serve with, for the administrator and for the aggregation layer; the tokens' key."""
    if shutil.which("openssl") is None:
        raise LookupError("openssl is not installed: it makes the API server's certificates")
    _openssl(directory, "ecparam -name prime256v1 -genkey -noout -out ca.key")
    _openssl(directory, "req -x509 -key ca.key -days 2 -out ca.crt -subj /CN=envtest-ca")
    _openssl(directory, "genrsa -out sa.key 2048")
    for name, subject, extension in (
        ("tls", "/CN=kube-apiserver", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
        ("admin", "/O=system:masters/CN=admin", "extendedKeyUsage=clientAuth"),
        ("proxy", "/CN=front-proxy", "extendedKeyUsage=clientAuth"),
    ):
        (directory / f"{name}.ext").write_text(extension)
        _openssl(directory, f"ecparam -name prime256v1 -genkey -noout -out {name}.key")
        _openssl(directory, f"req -new -key {name}.key -out {name}.csr -subj {subject}")
        _openssl(
            directory,
            f"x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 "
            f"-out {name}.crt -extfile {name}.ext",
        )


def _openssl(directory: Path, arguments: str) -> None:
    subprocess.run(["openssl", *arguments.split()], cwd=directory, check=True, capture_output=True)


def _kubeconfig(cluster: dict[str, Any], user: dict[str, Any]) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": "tests", "user": user}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
            "current-context": "tests",
        }
    )


def _client(kubeconfig: str) -> httpx.Client:
    """An HTTP client with the credentials of a kubeconfig: not the console's own client, which is under test."""
    configuration = Configuration()
    load_kube_config(config_file=kubeconfig, client_configuration=configuration, persist_config=False)
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    headers = {"Authorization": token} if (token := configuration.api_key.get("BearerToken")) else {}
    return httpx.Client(base_url=configuration.host, verify=context, headers=headers, timeout=30, trust_env=False)


def _serves(connection: Any) -> bool:
    from storms.cluster import ClusterUnavailable

    # Right after its registration the aggregated group answers 503.
    with contextlib.suppress(ClusterUnavailable):
        return is_served(connection)
    return False


def _path_of(document: dict[str, Any]) -> str:
    """The API path of one object, for the kinds in deploy/, whose plural is regular."""
    version = document["apiVersion"]
    base = f"/apis/{version}" if "/" in version else f"/api/{version}"
    namespace = document["metadata"].get("namespace")
    scope = f"/namespaces/{namespace}" if namespace else ""
    plural = re.sub("y$", "ie", document["kind"].lower()) + "s"
    return f"{base}{scope}/{plural}/{document['metadata']['name']}"
