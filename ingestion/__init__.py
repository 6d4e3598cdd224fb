"""HTTP and payload formats: from a webhook to recorded alerts."""
