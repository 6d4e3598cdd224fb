"""Synthetic rows in bulk, to measure and to try the console with: `manage.py seed`.

`catalog` says what there is (pure), the `.sql` files make rows of it set by set, `rows` runs them. What they write is
what the services would have written: ids and group keys are derived the same way, constraints hold, the ledger adds up.
"""
