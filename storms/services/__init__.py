"""The only writers of the domain's rows, each a keyword-only verb."""
