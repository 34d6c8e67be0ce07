"""The HTTP edge: the connection, the inference surfaces, and the control plane behind them."""
