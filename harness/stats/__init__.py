"""Statistics of test predictions: metrics, bootstrap, power, and simulations that check them.

Numbers enter, numbers leave; this room knows no task, model or file."""
