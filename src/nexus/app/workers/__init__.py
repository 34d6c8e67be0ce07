"""Several processes on one port, with one view of the fleet."""
