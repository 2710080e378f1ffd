"""The running of a plan: steps, expectations, pauses and the process that holds it."""
