"""The append-only ledger of receipts, and the stores that keep it."""
