from tests.harness.kube import kube

__all__ = ["kube"]
