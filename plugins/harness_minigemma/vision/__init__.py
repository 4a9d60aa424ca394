"""Two small vision models, `miniclip` and `minipaligemma`, and the recipe that trains them."""
