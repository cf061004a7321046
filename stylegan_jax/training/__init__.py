"""How a network learns: schedule, losses, state, step, and the loop that repeats it."""
