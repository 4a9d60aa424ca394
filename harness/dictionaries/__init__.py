"""The canonical sparse autoencoder, and measures of how well it fits activations.

Parameters and activations enter; features, reconstructions and verdicts of the fidelity gate leave."""
