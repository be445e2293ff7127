"""Recording runs from the training process, and working with recorded ones. `runicorn` re-exports what is public."""
