"""What became of an answer, read from what the client sends next. No text is kept, only keyed hashes."""
