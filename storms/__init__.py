"""The domain: policies, the storm decision, the rows and their services, the cluster, the console."""
