"""Captioned images in, two small vision models out: `miniclip` and `minipaligemma`, and the recipe that made both."""
