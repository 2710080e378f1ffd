"""What is printed of a run: the transcript, JSON and JUnit, step labels and the graph."""
