"""Who takes part: how each contender comes by its model, and how it runs, in a process of its own."""
