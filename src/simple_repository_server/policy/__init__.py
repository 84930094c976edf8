"""What clients may see: rules as pure functions of a page and the time."""
