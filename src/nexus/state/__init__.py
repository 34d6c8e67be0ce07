"""What outlives a process or is shared between several."""
