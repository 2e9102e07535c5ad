"""What is done with events and pictures: written to disk, logged, learned from."""
