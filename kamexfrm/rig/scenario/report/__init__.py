"""What a run prints: the transcript, labels and the graph."""
