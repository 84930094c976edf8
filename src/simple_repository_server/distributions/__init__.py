"""What a distribution file is: its name, and the metadata inside it."""
