"""The embedded model family: toy Gemma-2 models, their dictionaries, and the recipe that made both."""
