"""Which cluster is configured, and at what price it is found out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_django import Settings

from storms.cluster import ClusterUnavailable, cluster_label, get_cluster
from storms.cluster.local import LocalCluster
from tests.harness.kube import Kube


def test_it_is_local_when_none_is_configured() -> None:
    assert cluster_label() == "local"
    assert isinstance(get_cluster(), LocalCluster)
    assert get_cluster() is get_cluster()


def test_it_is_the_server_of_the_kubeconfig(kube: Kube, settings: Settings) -> None:
    settings.KUBECONFIG = kube.kubeconfig
    assert cluster_label() == kube.url
    assert get_cluster().label == kube.url
    assert get_cluster() is get_cluster()


def test_the_first_of_several_kubeconfigs_wins(kube: Kube, settings: Settings, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(Path(kube.kubeconfig).read_text().replace(kube.url, "https://other.example"))
    settings.KUBECONFIG = f"{other}:{kube.kubeconfig}"
    assert cluster_label() == "https://other.example"
    assert get_cluster().label == "https://other.example"


def test_it_is_the_service_inside_a_cluster(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.KUBERNETES_IN_CLUSTER = True
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    assert cluster_label() == "https://10.0.0.1:443"
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    assert cluster_label() == "https://[fd00::1]:443"


def test_it_never_falls_back_to_the_local_cluster(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    settings.KUBECONFIG = str(path)
    for _ in range(2):
        with pytest.raises(ClusterUnavailable):
            get_cluster()
        assert cluster_label() == f"unreadable KUBECONFIG {path}"


def test_it_finds_a_kubeconfig_that_comes_later(kube: Kube, settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    settings.KUBECONFIG = str(path)
    assert cluster_label().startswith("unreadable")
    path.write_text(Path(kube.kubeconfig).read_text())
    assert cluster_label() == get_cluster().label == kube.url


def test_the_web_process_does_not_import_kubernetes(kube: Kube) -> None:
    program = (
        "import sys, stormconsole.asgi; from django.urls import get_resolver; get_resolver().url_patterns;"
        "from storms.cluster import cluster_label; print(cluster_label());"
        "sys.exit('kubernetes' in sys.modules)"
    )
    environment = {**os.environ, "KUBECONFIG": kube.kubeconfig}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == kube.url
