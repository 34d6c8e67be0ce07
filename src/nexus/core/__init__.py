"""The nouns every other room speaks in: frozen records, the clock, the error envelope. No I/O."""
