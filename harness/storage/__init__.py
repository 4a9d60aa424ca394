"""Files that outlive a process: atomic writes, content hashes, the feature store and its cache.

Tensors and JSON enter under content keys and leave unchanged; this room knows no model and no SAE."""
