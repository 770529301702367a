"""Runs contenders and times them: each in a process of its own, in turns, on a machine that is described with them."""
