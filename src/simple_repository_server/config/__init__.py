"""What the user wants: arguments and environment, checked and typed."""
